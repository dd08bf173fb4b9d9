"""Rows grouped by expert, each group times its own matrix, as in mixtures of experts."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import constant, less_equal
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("experts")
SUPPORT = Support(dtypes=FLOATS | {"int32", "int64"})


def _check(
    self: Value, mat2: Value, offs: Value | None, bias: Value | None, out_dtype: torch.dtype | None
) -> str | None:
    ranks = len(self.shape), len(mat2.shape)
    if ranks != (2, 3) or offs is None:
        return f"expected rows [s, k] by matrices [e, k, n] with offsets, got ranks {ranks}"
    if bias is not None or out_dtype not in (None, getattr(torch, self.dtype)):
        return "expected no bias and the dtype of the rows, got a bias or another dtype"
    return None


@TABLE.converter("aten._grouped_mm.default", support=SUPPORT, check=_check)
def grouped_mm(
    net: Net, self: Tensor, mat2: Tensor, offs: Tensor, bias: None, out_dtype: torch.dtype | None
) -> Tensor:
    """self [s, k], sorted by group; mat2 [e, k, n]; group i ends before row offs[i].

    Every row is multiplied with every matrix, and its own product is kept: e times the work, but one
    product of static rank that reads each matrix once. Rows past the last group are zero.
    """
    rows, experts = net.size(self, 0), net.size(mat2, 0)
    row = net.unsqueeze(net.arange(rows, offs.dtype), [1])
    ended = less_equal(net, net.unsqueeze(offs, [0]), row)
    expert = net.reduce(net.cast(ended, offs.dtype), "SUM", [1], False)
    own = net.equal(net.unsqueeze(net.arange(experts, offs.dtype), [1]), net.unsqueeze(expert, [0]))
    products = net.matmul(net.unsqueeze(self, [0]), mat2)
    kept = net.select(net.unsqueeze(own, [2]), products, constant(net, 0, products))
    return net.reduce(kept, "SUM", [0], False)
