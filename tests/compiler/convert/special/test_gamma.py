"""Gamma's functions over their ranges, poles and infinities included."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call
from tests.compiler.convert.harness import Case, parametrize, run
from tests.compiler.convert.special.test_bessel import half, line, whole

INF, NAN = torch.inf, torch.nan

POLES = (0.0, -0.0, INF, NAN)

CASES = [
    Case("aten.lgamma.default", call(line(-9, 60, *POLES, -3.0, 1e-6, 1e6, -INF)), rtol=1e-4, atol=1e-5),
    Case("aten.lgamma.default", call(half), rtol=2e-3, atol=1e-3, name="half"),
    Case("aten.digamma.default", call(line(-9, 60, *POLES, -3.0, 1e6)), rtol=1e-4, atol=1e-5),
    Case("aten.digamma.default", call(whole), rtol=1e-4, name="int64"),
    *(
        Case("aten.polygamma.default", call(n, line(-8, 20)), rtol=2e-4, atol=1e-3, build=n < 3, name=f"{n}")
        for n in range(5)
    ),
    Case("aten.special_zeta.default", call(line(1, 12), line(0.1, 20)), rtol=1e-4),
    Case("aten.special_zeta.default", call(line(-2, 3, 1.0, 2.0), line(-9, 9, 0.0, -2.0)), rtol=1e-4,
         build=False, name="poles"),
    Case("aten.special_zeta.other_scalar", call(line(1, 12), 2.0), rtol=1e-4, build=False),
    Case("aten.special_zeta.self_scalar", call(3, line(-9, 9)), rtol=1e-4, build=False),
]  # fmt: skip


@parametrize(CASES)
def test_special(case: Case) -> None:
    run(case)
