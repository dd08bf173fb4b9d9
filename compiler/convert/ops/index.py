"""Elements picked by tensors of positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.idioms.axes import axis_of, size_tensor, wrap_index
from compiler.convert.net import Net
from compiler.convert.registry import ANY, Support, Table
from compiler.network.network import Size, Tensor
from compiler.trace.composites import positions
from enginebundle.format.graph import Value

TABLE = Table("index")

MASK_REASON = "a bool mask gives a result whose size depends on data, which TensorRT-RTX cannot run"


@TABLE.converter("aten.embedding.default")
def embedding(
    net: Net, weight: Tensor, indices: Tensor, padding_idx: Size, scale_grad_by_freq: bool,
    sparse: bool,
) -> Tensor:  # fmt: skip
    """Rows of weight. padding_idx and the flags concern gradients only."""
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
    """Elements of the flat tensor; negative positions count from its end."""
    flat = net.reshape(self, [-1])
    return net.gather(flat, wrap_index(net, index, net.product(net.sizes(self))), 0)


def _combinations_check(self: Value, r: int) -> str | None:
    size = self.shape[0]
    if isinstance(size, str):
        return f"expected a vector of static size (it decides the number of results), got {size}"
    return None if r else "expected at least one element a combination"


@TABLE.converter("aten.combinations.default", check=_combinations_check)
def combinations(net: Net, self: Tensor, r: int, with_replacement: bool) -> Tensor:
    """[combinations, r] of a vector's elements."""
    rows = positions(self.shape[0] or 0, r, with_replacement)
    return net.gather(self, net.constant(rows), 0)


@TABLE.converter("aten.take_along_dim.default")
def take_along_dim(net: Net, self: Tensor, indices: Tensor, dim: int | None) -> Tensor:
    """torch.gather with the other dims broadcast; of the flat tensors if dim is None."""
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


# -- self[i, :, j, ...] --------------------------------------------------------------------


def index_check(self: Value, indices: Sequence[Value | None]) -> str | None:
    """Why an index list cannot be taken."""
    given = [v for v in indices if v is not None]
    if any(v.dtype in ("bool", "uint8") for v in given):
        return MASK_REASON
    if len(self.shape) - len(given) + max((len(v.shape) for v in given), default=0) > 8:
        return "the result has more than TensorRT's 8 dimensions"
    return None


@TABLE.converter(
    "aten.index.Tensor", "aten._unsafe_index.Tensor",
    support=Support(dtypes=ANY | {"uint8"}), check=index_check,
)  # fmt: skip
def index(net: Net, self: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """NumPy's advanced indexing by integer tensors; None takes a whole dimension."""
    plan = Indexing(net, self, indices)
    if not plan.axes:
        return self
    return net.gather(plan.merged, plan.flat, plan.first)


class Indexing:
    """Index tensors of several dims as one index of those dims merged.

    Adjacent dims stay where they are; separated ones move to the front, as in NumPy, where the
    dims of the index come first in the result. `merged` is x with the indexed dims (moved and)
    merged at `first`; `flat` holds the positions in it, with the broadcast shape of the indices.
    """

    def __init__(self, net: Net, x: Tensor, indices: Sequence[Tensor | None]) -> None:
        self.net = net
        self.axes = [i for i, t in enumerate(indices) if t is not None]
        given = [t for t in indices if t is not None]
        self.first = 0
        if not self.axes:
            return
        adjacent = self.axes[-1] - self.axes[0] == len(self.axes) - 1
        rest = [i for i in range(x.ndim) if i not in self.axes]
        self.first = self.axes[0] if adjacent else 0
        self.order = [*rest[: self.first], *self.axes, *rest[self.first :]]
        moved = net.transpose(x, self.order)
        sizes = net.sizes(moved)
        last = self.first + len(self.axes)
        self.sizes = sizes[self.first : last]
        """Sizes of the indexed dims."""
        self.moved_sizes = sizes
        self.merged = moved
        if len(self.axes) > 1:
            count = net.product(self.sizes)
            self.merged = net.reshape(moved, [*sizes[: self.first], count, *sizes[last:]])
        self.flat = self._flat(given)

    def _flat(self, given: Sequence[Tensor]) -> Tensor:
        """Row-major position in the indexed dims."""
        net = self.net
        flat = wrap_index(net, given[0], self.sizes[0])
        for tensor, size in zip(given[1:], self.sizes[1:], strict=True):
            flat = net.add(net.mul(flat, size_tensor(net, size)), wrap_index(net, tensor, size))
        return flat


def as_vector(net: Net, index: Tensor, axis: int, rank: int) -> Tensor:
    """A vector of positions with its dim at `axis` among `rank` dims of size one."""
    index = index if index.ndim else net.reshape(index, [1])
    return net.unsqueeze(net.cast(index, torch.int64), [i for i in range(rank) if i != axis])
