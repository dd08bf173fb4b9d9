"""Elements picked by tensors of positions."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.axes import axis_of
from compiler.convert.idioms.indexing import Indexing, index_check
from compiler.convert.idioms.positions import wrap_index
from compiler.convert.net import Net
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Size, Tensor
from compiler.trace.composites import positions
from enginebundle.format.graph import Value

TABLE = Table("index")


@TABLE.converter("aten.embedding.default")
def embedding(
    net: Net, weight: Tensor, indices: Tensor, padding_idx: Size, scale_grad_by_freq: bool,
    sparse: bool,
) -> Tensor:  # fmt: skip
    """Rows of weight. padding_idx and the flags affect gradients only."""
    return net.gather(weight, indices, 0)


@TABLE.converter("aten.index_select.default")
def index_select(net: Net, self: Tensor, dim: int, index: Tensor) -> Tensor:
    """Elements at a vector of non-negative positions along dim."""
    x = self if self.ndim else net.reshape(self, [1])
    index = index if index.ndim else net.reshape(index, [1])
    result = net.gather(x, index, axis_of(dim, self.ndim))
    return result if self.ndim else net.reshape(result, [])


@TABLE.converter("aten.gather.default")
def gather(net: Net, self: Tensor, dim: int, index: Tensor, sparse_grad: bool) -> Tensor:
    """self[..., index[..., i, ...], ...]: index has self's rank, its other dims may be shorter."""
    return gather_along(net, self, axis_of(dim, self.ndim), index)


def gather_along(net: Net, x: Tensor, axis: int, index: Tensor) -> Tensor:
    """torch.gather along a non-negative axis, with non-negative positions."""
    if index.ndim == 0:
        flat = x if x.ndim else net.reshape(x, [1])
        return net.reshape(net.gather_elements(flat, net.reshape(index, [1]), 0), [])
    x = x if x.ndim else net.reshape(x, [1])
    return net.gather_elements(like_index(net, x, axis, index), index, axis)


def like_index(net: Net, x: Tensor, axis: int, index: Tensor) -> Tensor:
    """x cut to the sizes of index, except along axis."""
    sizes = net.sizes(x)
    cut = False
    for i, (have, want) in enumerate(zip(x.shape, index.shape, strict=True)):
        if i != axis and (have is None or want is None or have != want):
            sizes[i], cut = net.size(index, i), True
    return net.slice(x, [0] * x.ndim, sizes, [1] * x.ndim) if cut else x


@TABLE.converter("aten.take.default")
def take(net: Net, self: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened tensor; negative positions count from its end."""
    flat = net.reshape(self, [-1])
    return net.gather(flat, wrap_index(net, index, net.product(net.sizes(self))), 0)


def _combinations_check(self: Value, r: int) -> str | None:
    size = self.shape[0]
    if isinstance(size, str):
        return (
            f"expected a vector of static size, which determines the number of results, got {size}"
        )
    return None if r else "expected at least 1 element per combination, got r=0"


@TABLE.converter("aten.combinations.default", check=_combinations_check)
def combinations(net: Net, self: Tensor, r: int, with_replacement: bool) -> Tensor:
    """All combinations of r elements of a vector, [combinations, r]."""
    rows = positions(self.shape[0] or 0, r, with_replacement)
    return net.gather(self, net.constant(rows), 0)


@TABLE.converter("aten.take_along_dim.default")
def take_along_dim(net: Net, self: Tensor, indices: Tensor, dim: int | None) -> Tensor:
    """torch.gather with the other dims broadcast; on the flattened tensors if dim is None."""
    if dim is None:
        whole = net.reshape(self, [-1])
        indices = wrap_index(net, indices, net.size(whole, 0))
        return gather_along(net, whole, 0, net.reshape(indices, [-1]))
    axis = axis_of(dim, self.ndim)
    indices = wrap_index(net, indices, net.size(self, axis))
    mine, theirs = net.sizes(self), net.sizes(indices)
    for i in range(self.ndim):
        if i != axis:
            both = mine[i] if indices.shape[i] == 1 else theirs[i]
            mine[i] = theirs[i] = both
    return gather_along(net, net.expand(self, mine), axis, net.expand(indices, theirs))


@TABLE.converter(
    "aten.index.Tensor", "aten._unsafe_index.Tensor",
    support=Support(dtypes=ANY | {"uint8"}), check=index_check,
)  # fmt: skip
def index(net: Net, self: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """NumPy's advanced indexing with integer tensors; None takes a whole dimension."""
    indexing = Indexing(net, self, indices)
    if not indexing.axes:
        return self
    return net.gather(indexing.merged, indexing.flat, indexing.first)
