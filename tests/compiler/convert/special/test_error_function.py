"""The error function's relatives over their ranges."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.special.test_bessel import line

INF, NAN = torch.inf, torch.nan

POLES = (0.0, -0.0, INF, NAN)

CASES = [
    Case("aten.special_erfcx.default", call(line(-5, 40, *POLES)), rtol=1e-4),
    Case("aten.special_log_ndtr.default", call(line(-40, 9, *POLES, -INF)), rtol=1e-4),
    Case("aten.special_ndtri.default", call(lambda n: torch.cat(
        [torch.linspace(0, 1, 99), 10 ** -torch.linspace(3, 37, 60), torch.tensor([-0.5, 1.5, NAN])]
    ).repeat(n, 1)), rtol=1e-4, atol=1e-5),
]  # fmt: skip


@parametrize(CASES)
def test_special(case: Case) -> None:
    run(case)
