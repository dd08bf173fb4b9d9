"""Scaled dot-product attention against eager torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

half = torch.float16
SDPA = "aten.scaled_dot_product_attention.default"
FLASH = "aten._scaled_dot_product_flash_attention_for_cpu.default"
Q, K, V = x("n", 2, "n", 8), x("n", 2, "2n", 8), x("n", 2, "2n", 8)


def mask(*sizes: int | str) -> Callable[[int], torch.Tensor]:
    """A bool mask with some rows that hide every key."""

    def make(n: int) -> torch.Tensor:
        result = x(*sizes)(n) > -2
        result[..., 0, :] = False
        return result

    return make


def added(n: int) -> torch.Tensor:
    """A mask that is added to the scores; -inf hides a key, and in one row all of them."""
    result = torch.randn(n, 1, n, 2 * n)
    result[:, :, :, 1] = -torch.inf
    result[0, :, 0] = -torch.inf
    return result


CASES = [
    Case(SDPA, call(Q, K, V)),
    Case(SDPA, call(x("n", 2, 5, 8), x("n", 2, 6, 8), x("n", 2, 6, 4)), name="value-depth"),
    Case(SDPA, call(x("n", 2, 5, 8), x("n", 2, 6, 8), x("n", 2, 6, 8), scale=0.3), name="scale"),
    Case(SDPA, call(Q, K, V, None, 0.0, True), name="causal"),
    Case(SDPA, call(K, Q, Q, None, 0.0, True), name="causal-longer"),
    Case(SDPA, call(Q, K, V, mask("n", 1, "n", "2n")), name="bool"),
    Case(SDPA, call(Q, K, V, lambda n: x("n", 1, 1, "2n")(n) > -6), name="bool-keys"),
    Case(SDPA, call(Q, K, V, mask("n", "2n")), name="bool-2d"),
    Case(SDPA, call(Q, K, V, mask(2, "n", "2n")), name="bool-3d"),
    Case(SDPA, call(Q, K, V, added), name="float"),
    Case(SDPA, call(x("n", 2, "n", 8, dtype=half), x("n", 2, "n", 8, dtype=half),
                    x("n", 2, "n", 8, dtype=half)), atol=2e-2, rtol=1e-2, name="half"),
    Case(SDPA, call(x("n", 5, 8), x("n", 6, 8), x("n", 6, 8)), name="3d"),
    Case(SDPA, call(x("n", 5, 8), x("n", 6, 8), x("n", 6, 8), mask("n", 5, 6)), name="3d-bool"),
    Case(SDPA, call(x("n", 8), x(6, 8), x(6, 8)), name="2d"),
    Case(SDPA, call(x(2, "n", 3, "n", 8), x(2, "n", 3, 6, 8), x(2, "n", 3, 6, 8)), name="5d"),
    Case(SDPA, call(x(2, "n", 3, 4, 8), x(2, "n", 3, 6, 8), x(2, "n", 3, 6, 8), mask("n", 1, 4, 6)),
         name="5d-bool"),
    Case(SDPA, call(x("n", 4, 5, 8), x(1, 1, 6, 8), x(1, 1, 6, 8)), name="broadcast"),
    Case(SDPA, call(x("n", 6, "n", 8), x("n", 2, "n", 8), x("n", 2, "n", 8), enable_gqa=True), name="gqa"),
    Case(SDPA, call(x("n", 6, "n", 8), x("n", 2, "n", 8), x("n", 2, "n", 8), mask("n", 1, "n", "n"),
                    enable_gqa=True), name="gqa-bool"),
    Case(SDPA, call(x("n", 6, "n", 8), x("n", 2, "n", 8), x("n", 2, "n", 8), None, 0.0, True, enable_gqa=True),
         name="gqa-causal"),
    Case(SDPA, call(x("n", 6, 4, 8), x("n", 2, 5, 8), x("n", 2, 5, 3), x("n", 6, 4, 5), scale=0.2, enable_gqa=True),
         name="gqa-float-scale-depth"),
    Case(SDPA, call(x("n", 6, 4, 8), x("n", 1, 5, 8), x("n", 1, 5, 8), enable_gqa=True), name="one-head"),
    Case(SDPA, call(x("n", 6, 4, 8), x("n", 2, 5, 8), x("n", 3, 5, 8), mask("n", 1, 4, 5), enable_gqa=True),
         name="gqa-uneven"),
    Case(SDPA, call(x("n", 6, 4, 8), x("n", 6, 5, 8), x("n", 3, 5, 8), enable_gqa=True), atol=1e-4,
         rtol=1e-3, name="gqa-values"),
    Case(SDPA, call(x("n", 2, 4, "n"), x("n", 2, 5, "n"), x("n", 2, 5, 3), mask("n", 1, 4, 5)), name="dynamic-depth"),
    Case(SDPA, call(x("n", 2, 4, "n"), x("n", 2, 5, "n"), x("n", 2, 5, "n"), None, 0.0, True), name="dynamic-depths"),
    Case(SDPA, call(x("n", 2, 4, "n", dtype=half), x("n", 2, 5, "n", dtype=half), x("n", 2, 5, 3, dtype=half)),
         atol=2e-2, rtol=1e-2, name="dynamic-depth-half"),
    Case(SDPA, call(x(2, "n", 4, 8), x(2, "n", 5, 8), x(2, "n", 5, 8), None, 0.0, True), name="dynamic-heads"),
    Case(SDPA, call(x("n", 2, 4, 8), x("n", 2, 0, 8), x("n", 2, 0, 8)), name="no-keys"),
    Case(SDPA, call(Q, K, V, None, 0.1), refused=("argument", "dropout_p")),
    Case(FLASH, call(Q, K, V)),
    Case(FLASH, call(Q, K, V, 0.0, True), name="causal"),
    Case(FLASH, call(x("n", 2, 5, 8), x("n", 2, 6, 8), x("n", 2, 6, 8),
                     attn_mask=lambda n: torch.ones(5, 6) * 0.5), name="float"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
