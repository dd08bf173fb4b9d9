"""Tensors without elements, and without dimensions, against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

ints, boolean = torch.int64, torch.bool
NONE = x("n", 0, 3)
"""Empty along a static dimension, with a dynamic one beside it."""


def index(*sizes: int) -> object:
    return lambda n: torch.zeros(sizes, dtype=ints)


EMPTY = [
    Case("aten.add.Tensor", call(NONE, x(3))),
    Case("aten.mul.Tensor", call(NONE, x("n", 1, 1, dtype=ints))),
    Case("aten.relu.default", call(NONE)),
    Case("aten.gelu.default", call(NONE)),
    Case("aten._to_copy.default", call(NONE, dtype=ints)),
    Case("aten.where.self", call(x("n", 0, 3, dtype=boolean), x(3), x())),
    Case("aten.sum.dim_IntList", call(NONE, [1])),
    Case("aten.sum.default", call(NONE)),
    Case("aten.prod.default", call(NONE)),
    Case("aten.mean.dim", call(NONE, [1])),
    Case("aten.mean.dim", call(NONE, [2]), name="kept"),
    Case("aten.any.dim", call(NONE, 1)),
    Case("aten.all.dim", call(NONE, 1)),
    Case("aten.amax.default", call(NONE, [2])),
    Case("aten.argmax.default", call(NONE, 2)),
    Case("aten.cumsum.default", call(NONE, 1)),
    Case("aten._softmax.default", call(NONE, 1, False)),
    Case("aten._softmax.default", call(NONE, 2, False), name="kept"),
    Case("aten.logsumexp.default", call(NONE, [2])),
    Case("aten.var.correction", call(NONE, [1])),
    *[Case(f"aten.{op}.correction", call(NONE, dim, correction=-2), name=f"less than none {dim}")
      for op in ("var", "std", "var_mean", "std_mean") for dim in ([1], None)],
    Case("aten.linalg_vector_norm.default", call(NONE, 2, [1])),
    Case("aten.sort.default", call(NONE, 1)),
    Case("aten.topk.default", call(NONE, 0, 1)),
    Case("aten.native_layer_norm.default", call(NONE, [3], x(3), x(3), 1e-5)),
    Case("aten.mm.default", call(x("n", 0), x(0, 4)), name="inner"),
    Case("aten.mm.default", call(x("n", 3), x(3, 0)), name="outer"),
    Case("aten.bmm.default", call(x("n", 2, 0), x("n", 0, 4))),
    Case("aten.addmm.default", call(x(4), x("n", 0), x(0, 4))),
    Case("aten.linear.default", call(NONE, x(5, 3), x(5))),
    Case("aten.convolution.default", call(x(0, 3, 5, 5), x(4, 3, 3, 3), x(4), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
         static=True),
    Case("aten.max_pool2d_with_indices.default", call(x(0, 3, 4, 4), [2, 2]), static=True),
    Case("aten.avg_pool2d.default", call(x(0, 3, 4, 4), [2, 2]), static=True),
    *[Case(f"aten.adaptive_avg_pool{len(window)}d.default", call(x(*lead, *(2 * size for size in window)), window),
           static=True, name=name)
      for name, lead in (("no batch", (0, 3)), ("no channels", (2, 0)), ("neither", (0,)))
      for window in ([2], [2, 3], [2, 1, 3]) if (name, len(window)) != ("no channels", 3)],  # which torch refuses
    *[Case("aten.adaptive_avg_pool2d.default", call(x("n", 0, 4, 6), window), name=f"no channels {window}")
      for window in ([2, 3], [3, 4], [1, 1])],
    Case("aten.cat.default", call([NONE, x("n", 2, 3)], 1)),
    Case("aten.cat.default", call([x(0), x("n", 3)], 0), name="legacy"),
    Case("aten.stack.default", call([NONE, NONE])),
    Case("aten.slice.Tensor", call(x("n", 4), 1, 3, 2)),
    Case("aten.split_with_sizes.default", call(x("n", 4), [0, 4], 1)),
    Case("aten.view.default", call(NONE, [0, 3])),
    Case("aten.permute.default", call(NONE, [2, 0, 1])),
    Case("aten.expand.default", call(x("n", 0, 1), [-1, 0, 4])),
    Case("aten.repeat.default", call(x("n", 2), [1, 0])),
    Case("aten.flip.default", call(NONE, [1])),
    Case("aten.roll.default", call(NONE, [1], [1])),
    Case("aten.index_select.default", call(x("n", 4), 1, index(0))),
    Case("aten.index.Tensor", call(x("n", 4), [None, index(0)])),
    Case("aten.gather.default", call(x("n", 4), 1, lambda n: torch.zeros(n, 0, dtype=ints))),
    Case("aten.embedding.default", call(x(4, 3), lambda n: torch.zeros(n, 0, dtype=ints))),
    Case("aten.scatter.src", call(x("n", 4), 1, lambda n: torch.zeros(n, 0, dtype=ints), x("n", 0))),
    Case("aten.scatter_add.default", call(x("n", 4), 1, lambda n: torch.zeros(n, 0, dtype=ints), x("n", 0))),
    Case("aten.index_put.default", call(x("n", 4), [None, index(0)], x("n", 0))),
    Case("aten.constant_pad_nd.default", call(NONE, [1, 1], 2.0)),
    Case("aten.constant_pad_nd.default", call(NONE, [0, 0, 1, 1], 2.0), name="filled"),
    Case("aten.full.default", call([0, 3], 2.0), static=True),
    Case("aten.arange.start_step", call(3, 3, 1), static=True),
    Case("aten.masked_fill.Scalar", call(NONE, x("n", 0, 1, dtype=boolean), 1.0)),
    Case("aten.scaled_dot_product_attention.default", call(x("n", 2, 0, 8), x("n", 2, 4, 8), x("n", 2, 4, 8))),
    Case("aten.upsample_nearest2d.vec", call(x(0, 3, 4, 4), None, [2.0, 2.0]), static=True),
    Case("aten.diagonal.default", call(x("n", 0, 3), 0, 1, 2)),
    Case("aten.tril.default", call(NONE)),
    Case("aten.unfold.default", call(x("n", 3), 1, 3, 1)),
]  # fmt: skip

ZERO_RANK = [
    *[Case(f"aten.{op}.default", call(x()), static=True) for op in (
        "abs", "neg", "exp", "relu", "gelu", "sigmoid", "isnan", "logical_not", "clone", "sum", "prod", "any", "all",
        "argmax", "squeeze", "sign", "floor", "erf", "rsqrt", "t", "ravel", "amax", "mean", "max", "softplus")],
    Case("aten.add.Tensor", call(x(), x(dtype=torch.float16)), static=True, name="promotes"),
    Case("aten.add.Tensor", call(x("n", dtype=torch.float16), x()), name="yields"),
    Case("aten.mul.Tensor", call(x(dtype=ints), x("n", dtype=torch.int32)), name="ints"),
    Case("aten.where.self", call(x(dtype=boolean), x(), x("n"))),
    Case("aten.sum.dim_IntList", call(x(), [0], True), static=True),
    Case("aten.sum.dim_IntList", call(x(), [-1]), static=True, name="last"),
    Case("aten.amax.default", call(x(), [0]), static=True, name="dim"),
    Case("aten.cumsum.default", call(x(), 0), static=True),
    Case("aten._softmax.default", call(x(), 0, False), static=True),
    Case("aten._log_softmax.default", call(x(), -1, False), static=True),
    Case("aten.var.correction", call(x(), [0]), static=True),
    Case("aten.max.dim", call(x(), 0), static=True),
    Case("aten.sort.default", call(x()), static=True),
    Case("aten.unsqueeze.default", call(x(), -1), static=True),
    Case("aten.view.default", call(x(), [1, 1]), static=True),
    Case("aten.view.default", call(x(1), []), static=True, name="to none"),
    Case("aten.permute.default", call(x(), []), static=True),
    Case("aten.expand.default", call(x(), [2, 3]), static=True),
    Case("aten.flip.default", call(x(), [0]), static=True),
    Case("aten.index_select.default", call(x(), 0, index()), static=True),
    Case("aten.gather.default", call(x(), 0, index()), static=True),
    Case("aten.scatter.value", call(x(), 0, index(), 2.0), static=True),
    Case("aten.embedding.default", call(x("n", 3), index())),
    Case("aten.index.Tensor", call(x("n", 3), [index()])),
    Case("aten.linalg_vector_norm.default", call(x(), 2), static=True),
    Case("aten.stack.default", call([x(), x()]), static=True),
    Case("aten.masked_fill.Tensor", call(x(), x(dtype=boolean), x()), static=True),
    Case("aten.native_layer_norm.default", call(x(1), [1], None, None, 1e-5), static=True),
]  # fmt: skip


@parametrize(EMPTY)
def test_empty(case: Case) -> None:
    run(case)


@parametrize(ZERO_RANK)
def test_zero_rank(case: Case) -> None:
    run(case)
