"""Views against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

ints = torch.int64
CASES = [
    Case("aten.view.default", call(x("n", 4, 6), lambda n: [n, 24])),
    Case("aten.view.default", call(x("n", 4, 6), lambda n: [n, 2, -1, 3]), name="infer"),
    Case("aten.view.default", call(x("n", "n", 6), lambda n: [n, n, 2, 3]), name="two-dynamic"),
    Case("aten.view.default", call(x("n", "n", 6), lambda n: [n, n, -1]), name="two-dynamic-infer"),
    Case("aten.view.default", call(x("n", 4, 6), lambda n: [-1, 6]), name="merge"),
    Case("aten.view.default", call(x("n"), lambda n: [n, 1]), name="one"),
    Case("aten.view.default", call(x(4, 6), [3, 8]), static=True),
    Case("aten.view.default", call(x(4, 6, dtype=torch.bool), [-1]), static=True, name="bool"),
    Case("aten.view.default", call(x(), [1, 1]), static=True, name="0d"),
    Case("aten.view.default", call(x(1), []), static=True, name="to-0d"),
    Case("aten.view.default", call(x(0, 3), [3, 0]), static=True, name="empty"),
    Case("aten._unsafe_view.default", call(x("n", 6), lambda n: [n, 2, 3])),
    Case("aten.view_copy.default", call(x("n", 6), lambda n: [n, 3, 2])),
    Case("aten.reshape.default", call(x("n", 6, dtype=ints), lambda n: [2, n, 3])),
    Case("aten.reshape_as.default", call(x("n", 6), x(2, "n", 3))),
    Case("aten.view_as.default", call(x("n", "n"), x("n", 1, "n"))),
    Case("aten.flatten.using_ints", call(x("n", 3, 5, 2, 4), 0, 2)),
    Case("aten.flatten.using_ints", call(x("n", 3, 4, 2), 1, -2), name="static-part"),
    Case("aten.flatten.using_ints", call(x("n", 3, 2)), name="all"),
    Case("aten.flatten.using_ints", call(x()), static=True, name="0d"),
    Case("aten.ravel.default", call(x("n", 3))),
    Case("aten.unflatten.int", call(x("n", 6, 2), 1, [2, -1])),
    Case("aten.unflatten.int", call(x("n", "6n"), -1, lambda n: [2, n, 3]), name="dynamic"),
    Case("aten.unsqueeze.default", call(x("n", 3), 0)),
    Case("aten.unsqueeze.default", call(x("n", 3), -1), name="negative"),
    Case("aten.unsqueeze.default", call(x(), -1), static=True, name="0d"),
    Case("aten.squeeze.default", call(x(1, "n", 1, 3))),
    Case("aten.squeeze.dim", call(x(1, "n", 1, 3), -2)),
    Case("aten.squeeze.dim", call(x("n", 3), 0), name="not-one"),
    Case("aten.squeeze.dim", call(x(), 0), static=True, name="0d"),
    Case("aten.squeeze.dims", call(x(1, "n", 1, 3), [0, 1, -2])),
    Case("aten.permute.default", call(x("n", 3, 4), [2, 0, -2])),
    Case("aten.permute.default", call(x(), []), static=True, name="0d"),
    Case("aten.permute.default", call(x("n", 3, dtype=torch.bool), [1, 0]), name="bool"),
    Case("aten.transpose.int", call(x("n", 3, 4), 0, -1)),
    Case("aten.transpose.int", call(x(), 0, -1), static=True, name="0d"),
    Case("aten.swapaxes.default", call(x("n", 3, 4), 0, 1)),
    Case("aten.swapdims.default", call(x("n", 3, 4), 0, 1)),
    Case("aten.t.default", call(x("n", 3))),
    Case("aten.t.default", call(x("n")), name="1d"),
    Case("aten.numpy_T.default", call(x("n", 3))),
    Case("aten.mT.default", call(x(2, "n", 3))),
    Case("aten.mH.default", call(x(2, "n", 3))),
    Case("aten.adjoint.default", call(x(2, "n", 3))),
    Case("aten.movedim.int", call(x(2, "n", 3, 4), 0, -1)),
    Case("aten.moveaxis.int", call(x(2, "n", 3, 4), -1, 1)),
    Case("aten.movedim.intlist", call(x(2, "n", 3, 4), [0, 1], [-1, 0])),
    Case("aten.expand.default", call(x("n", 1, 3), lambda n: [2, n, 4, -1])),
    Case("aten.expand.default", call(x("n", 1), lambda n: [n, n]), name="dynamic"),
    Case("aten.expand.default", call(x("n", 1, dtype=torch.bool), lambda n: [n, n, 3]), name="bool"),
    Case("aten.expand.default", call(x("n", 1, dtype=torch.float16), lambda n: [n, 3]), name="half"),
    Case("aten.expand.default", call(x(), [2, 3]), static=True, name="0d"),
    Case("aten.expand.default", call(x(1, 3), [0, 3]), static=True, name="empty"),
    Case("aten.broadcast_to.default", call(x("n", 1, 3), lambda n: [n, n, 3])),
    Case("aten.expand_as.default", call(x(1, 3), x("n", "n", 3))),
    Case("aten.meshgrid.default", call(lambda n: [x("n")(n), x(3)(n), x()(n)])),
    Case("aten.meshgrid.indexing", call(lambda n: [x("n")(n), x(3)(n)], indexing="xy")),
    Case("aten.meshgrid.indexing", call(lambda n: [x("n")(n), x(3)(n), x(2)(n)], indexing="xy"),
         name="three"),
    Case("aten.meshgrid.indexing", call(lambda n: [x("n")(n), x("n")(n)], indexing="ij"), name="ij"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
