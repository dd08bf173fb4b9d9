"""Top-k and sorting."""

from __future__ import annotations

from compiler.convert.idioms.order import along, check_count, check_sort
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor

TABLE = Table("order")

_NUMBERS = Support(dtypes=NUMBERS)


@TABLE.converter("aten.topk.default", support=_NUMBERS, check=check_count)
def topk(
    net: Net, self: Tensor, k: Size, dim: int, largest: bool, sorted: bool
) -> tuple[Tensor, Tensor]:
    return along(net, self, dim, k, largest)


def _sorted(net: Net, x: Tensor, dim: int, descending: bool, values: bool) -> tuple[Tensor, Tensor]:
    size = net.size(x, dim % x.ndim) if x.ndim else 1
    return along(net, x, dim, size, descending, values)


@TABLE.converter("aten.sort.default", check=check_sort)
def sort(net: Net, self: Tensor, dim: int, descending: bool) -> tuple[Tensor, Tensor]:
    return _sorted(net, self, dim, descending, True)


@TABLE.converter("aten.sort.stable", check=check_sort)
def sort_stable(
    net: Net, self: Tensor, stable: bool | None, dim: int, descending: bool
) -> tuple[Tensor, Tensor]:
    return _sorted(net, self, dim, descending, True)


@TABLE.converter("aten.argsort.default", check=check_sort)
def argsort(net: Net, self: Tensor, dim: int, descending: bool) -> Tensor:
    return _sorted(net, self, dim, descending, False)[1]


@TABLE.converter("aten.argsort.stable", check=check_sort)
def argsort_stable(net: Net, self: Tensor, stable: bool, dim: int, descending: bool) -> Tensor:
    return _sorted(net, self, dim, descending, False)[1]
