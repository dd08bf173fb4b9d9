"""Changes of dtype, and operators that return their tensor unchanged."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip


def of(dtype: torch.dtype) -> Callable[[int], torch.Tensor]:
    """Zeros, fractions and negative numbers."""
    row = torch.tensor([0.0, -0.0, 0.4, -0.6, 1.0, -1.9, 2.5, 100.25])
    return lambda n: row.repeat(n, 1).to(dtype)


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


CASES = [
    *(
        Case("aten._to_copy.default", call(of(a), dtype=b), name=f"{short(a)} to {short(b)}")
        for a, b in itertools.product(DTYPES, DTYPES)
    ),
    Case("aten._to_copy.default", call(of(torch.float32)), name="no dtype"),
    Case(
        "aten._to_copy.default",
        call(lambda n: torch.arange(256).repeat(n, 1).to(torch.uint8), dtype=torch.float32),
        name="bytes",
    ),
    Case(
        "aten._to_copy.default",
        call(lambda n: torch.arange(256).repeat(n, 1).to(torch.uint8), dtype=torch.int64),
        name="bytes to int64",
    ),
    Case(
        "aten._to_copy.default",
        call(x("n"), dtype=torch.uint8),
        refused=("argument", "got uint8"),
        name="to bytes",
    ),
    Case(
        "aten._to_copy.default",
        call(x("n"), dtype=torch.float64),
        refused=("dtype", "got float64"),
        name="to double",
    ),
    Case("aten._to_copy.default", call(lambda n: torch.tensor(2.7), dtype=torch.int64), name="0-d"),
    Case("aten.to.dtype", call(x("n"), torch.float16), atol=1e-2),
    Case("aten.to.dtype_layout", call(x("n"), dtype=torch.int32)),
    Case("aten.to.other", call(x("n"), of(torch.int64))),
    Case("aten.type_as.default", call(x("n"), of(torch.float16)), atol=1e-2),
    *(
        Case(f"aten.{name}.default", call(x("n", 3)))
        for name in ("clone", "alias", "contiguous", "detach", "lift_fresh_copy", "resolve_conj")
    ),
    Case("aten.copy.default", call(x("n", 3), x(3))),
    Case(
        "aten.copy.default", call(x("n", 3, dtype=torch.float16), x("n", 1)), atol=1e-2, name="cast"
    ),
]


@parametrize(CASES)
def test_casts(case: Case) -> None:
    run(case)
