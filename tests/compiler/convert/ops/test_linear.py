"""Matrix products against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

half, ints = torch.float16, torch.int64
NAN = float("nan")
MATMUL = "aten.matmul.default"
RANKS = [
    (("n",), ("n",)), ((4,), (4, "n")), (("n", 4), (4,)), (("n", 4), (4, 3)), ((4,), (2, 4, "n")),
    (("n", 3, 4), (4,)), (("n", 3, 4), (4, 5)), ((3, 4), ("n", 4, 5)), (("n", 3, 4), ("n", 4, 5)),
    ((2, 1, "n", 4), ("n", 4, 5)), ((2, 3, "n", 4), (1, 3, 4, "n")),
]  # fmt: skip
CASES = [
    Case("aten.linear.default", call(x("n", 3, 4), x(5, 4), x(5)), weights=(1, 2)),
    Case("aten.linear.default", call(x("n", 4), x(5, 4)), weights=(1,), name="no-bias"),
    Case("aten.linear.default", call(x("n", 2, 3, 4), x(5, 4), x(5)), name="computed"),
    Case("aten.linear.default", call(x("n"), x(5, "n"), x(5)), name="vector"),
    Case("aten.linear.default", call(x("n", 4), x(4)), name="1d-weight"),
    Case("aten.linear.default", call(x("n", 4, dtype=half), x(5, 4, dtype=half), x(5, dtype=half)),
         atol=2e-2, rtol=2e-3, name="half"),
    *[Case(MATMUL, call(x(*a), x(*b)), name=f"{len(a)}x{len(b)}-{k}", rtol=1e-4, atol=1e-4)
      for k, (a, b) in enumerate(RANKS)],
    Case(MATMUL, call(x("n", 3, dtype=ints), x(3, 2, dtype=ints)), name="int"),
    Case(MATMUL, call(x(0, 3), x(3, 2)), static=True, name="empty"),
    Case("aten.linalg_matmul.default", call(x("n", 3), x(3, 2))),
    Case("aten.mm.default", call(x("n", 3), x(3, 2)), weights=(1,)),
    Case("aten.mm.default", call(x("n", 3, dtype=ints), x(3, 2, dtype=ints)), name="int"),
    Case("aten.bmm.default", call(x("n", 3, 4), x("n", 4, 5))),
    Case("aten.mv.default", call(x("n", 3), x(3))),
    Case("aten.dot.default", call(x("n"), x("n")), atol=1e-4),
    Case("aten.dot.default", call(x("n", dtype=ints), x("n", dtype=ints)), name="int"),
    Case("aten.vdot.default", call(x("n"), x("n")), atol=1e-4),
    Case("aten.inner.default", call(x("n", 2, 4), x(3, "n", 4)), atol=1e-4),
    Case("aten.inner.default", call(x("n", 2, 4), x(4)), atol=1e-4, name="vector"),
    Case("aten.inner.default", call(x("n", 2), x()), name="0d"),
    Case("aten.linalg_vecdot.default", call(x("n", 3), x(1, 3)), atol=1e-4),
    Case("aten.linalg_vecdot.default", call(x("n", 3), x("n", 3), dim=0), atol=1e-4, name="first"),
    Case("aten.outer.default", call(x("n"), x(3))),
    Case("aten.outer.default", call(x("n", dtype=torch.bool), x(3, dtype=torch.bool)), name="bool"),
    Case("aten.outer.default", call(x("n", dtype=ints), x(3)), name="promotion"),
    Case("aten.addmm.default", call(x(5), x("n", 4), x(4, 5)), weights=(0, 2)),
    Case("aten.addmm.default", call(x("n", 5), x("n", 4), x(4, 5), beta=0.5, alpha=2),
         atol=1e-4, name="scaled"),
    Case("aten.addmm.default", call(x("n", 5), x("n", 4), x(4, 5), beta=0), name="beta-zero"),
    Case("aten.addmm.default", call(lambda n: torch.full((5,), NAN), x("n", 4), x(4, 5), beta=0),
         name="nan"),
    Case("aten.addmm.default", call(below(9, 5), below(9, "n", 4), below(9, 4, 5), beta=2, alpha=3),
         name="int"),
    Case("aten.baddbmm.default", call(x("n", 3, 5), x("n", 3, 4), x("n", 4, 5), alpha=0.5), atol=1e-4),
    Case("aten.baddbmm.default", call(x(1, 1, 5), x("n", 3, 4), x("n", 4, 5), beta=2.0), atol=1e-4,
         name="broadcast"),
    Case("aten.addbmm.default", call(x(3, 5), x("n", 3, 4), x("n", 4, 5)), atol=1e-4),
    Case("aten.addmv.default", call(x("n"), x("n", 4), x(4), alpha=2), atol=1e-4),
    Case("aten.addr.default", call(x("n", 3), x("n"), x(3), beta=2, alpha=0.5), atol=1e-4),
    Case("aten.bilinear.default", call(x("n", 4), x("n", 3), x(5, 4, 3), x(5)), atol=1e-3,
         weights=(2, 3)),
    Case("aten.bilinear.default", call(x("n", 2, 4), x("n", 2, 3), x(5, 4, 3)), atol=1e-3, name="deep"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
