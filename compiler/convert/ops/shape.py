"""Views: the same elements with other sizes or another order of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.axes import axes_of, axis_of, move, swap
from compiler.convert.net import Net
from compiler.convert.registry import Table
from compiler.network.network import Size, Tensor

TABLE = Table("shape")


# -- new sizes -----------------------------------------------------------------------------


@TABLE.converter("aten.view.default", "aten._unsafe_view.default", "aten.view_copy.default")
def view(net: Net, self: Tensor, size: Sequence[Size]) -> Tensor:
    """The elements in C order with new sizes; one may be -1."""
    return net.reshape(self, _filled(net, size))


def _filled(net: Net, sizes: Sequence[Size]) -> list[Size]:
    """-1 replaced by the size that the graph knows: TensorRT would treat it as dynamic."""
    known = net.declared[0]
    return [n if k is None or n != -1 else k for n, k in zip(sizes, known, strict=True)]


@TABLE.converter("aten.reshape.default")
def reshape(net: Net, self: Tensor, shape: Sequence[Size]) -> Tensor:
    """As `view`."""
    return net.reshape(self, _filled(net, shape))


@TABLE.converter("aten.view_as.default", "aten.reshape_as.default")
def view_as(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """As `view`, with the sizes of other."""
    return net.reshape(self, net.sizes(other))


@TABLE.converter("aten.flatten.using_ints")
def flatten(net: Net, self: Tensor, start_dim: int, end_dim: int) -> Tensor:
    """Dims start_dim to end_dim merged into one; a 0-dimensional tensor becomes [1]."""
    if self.ndim == 0:
        return net.reshape(self, [1])
    start, end = axes_of([start_dim, end_dim], self.ndim)
    return self if start == end else net.flatten(self, start, end)


@TABLE.converter("aten.ravel.default")
def ravel(net: Net, self: Tensor) -> Tensor:
    """All dims merged into one."""
    return net.reshape(self, [-1])


@TABLE.converter("aten.unflatten.int")
def unflatten(net: Net, self: Tensor, dim: int, sizes: Sequence[Size]) -> Tensor:
    """One dimension split into several."""
    axis, old = axis_of(dim, self.ndim), net.sizes(self)
    return net.reshape(self, _filled(net, [*old[:axis], *sizes, *old[axis + 1 :]]))


# -- dimensions of size one ----------------------------------------------------------------


@TABLE.converter("aten.unsqueeze.default")
def unsqueeze(net: Net, self: Tensor, dim: int) -> Tensor:
    """A new dimension of size one."""
    return net.unsqueeze(self, [axis_of(dim, self.ndim + 1)])


@TABLE.converter("aten.squeeze.default", "aten.squeeze_copy.default")
def squeeze(net: Net, self: Tensor) -> Tensor:
    """Removes dims of size one. A dynamic size is never one: the export's guards ensure that."""
    return _squeeze(net, self, range(self.ndim))


@TABLE.converter("aten.squeeze.dim", "aten.squeeze_copy.dim")
def squeeze_dim(net: Net, self: Tensor, dim: int) -> Tensor:
    """As `squeeze`, for one dimension."""
    return _squeeze(net, self, [axis_of(dim, self.ndim)])


@TABLE.converter("aten.squeeze.dims", "aten.squeeze_copy.dims")
def squeeze_dims(net: Net, self: Tensor, dim: Sequence[int]) -> Tensor:
    """As `squeeze`, for several dimensions."""
    return _squeeze(net, self, axes_of(dim, self.ndim))


def _squeeze(net: Net, x: Tensor, axes: Sequence[int]) -> Tensor:
    return net.squeeze(x, [axis for axis in axes if axis < x.ndim and x.shape[axis] == 1])


# -- orders of dimensions ------------------------------------------------------------------


@TABLE.converter("aten.permute.default", "aten.permute_copy.default")
def permute(net: Net, self: Tensor, dims: Sequence[int]) -> Tensor:
    """Dimensions in another order."""
    return net.transpose(self, axes_of(dims, self.ndim))


@TABLE.converter("aten.transpose.int", "aten.swapdims.default")
def transpose(net: Net, self: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions swapped."""
    return swap(net, self, dim0, dim1)


@TABLE.converter("aten.swapaxes.default")
def swapaxes(net: Net, self: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions swapped."""
    return swap(net, self, axis0, axis1)


@TABLE.converter("aten.t.default", "aten.numpy_T.default")
def reverse(net: Net, self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    return net.transpose(self, range(self.ndim)[::-1])


@TABLE.converter("aten.mT.default", "aten.mH.default", "aten.adjoint.default")
def matrix_transpose(net: Net, self: Tensor) -> Tensor:
    """The last two dimensions swapped; there is nothing to conjugate, as all of TensorRT's types are real."""
    return swap(net, self, -1, -2) if self.ndim else self


@TABLE.converter("aten.movedim.int", "aten.moveaxis.int")
def movedim(net: Net, self: Tensor, source: int, destination: int) -> Tensor:
    """One dimension moved."""
    return move(net, self, [source], [destination])


@TABLE.converter("aten.movedim.intlist", "aten.moveaxis.intlist")
def movedims(net: Net, self: Tensor, source: Sequence[int], destination: Sequence[int]) -> Tensor:
    """Several dimensions moved; the others keep their order."""
    return move(net, self, source, destination)


# -- broadcasting --------------------------------------------------------------------------


@TABLE.converter("aten.expand.default")
def expand(net: Net, self: Tensor, size: Sequence[Size], implicit: bool) -> Tensor:
    """Dims of size one repeated; -1 keeps a size."""
    return net.expand(self, size)


@TABLE.converter("aten.broadcast_to.default")
def broadcast_to(net: Net, self: Tensor, size: Sequence[Size]) -> Tensor:
    """As `expand`."""
    return net.expand(self, size)


@TABLE.converter("aten.expand_as.default")
def expand_as(net: Net, self: Tensor, other: Tensor) -> Tensor:
    """As `expand`, to the sizes of other."""
    return net.expand(self, net.sizes(other))


@TABLE.converter("aten.meshgrid.default")
def meshgrid(net: Net, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each vector along its own dimension of a common grid."""
    return _grid(net, tensors)


@TABLE.converter("aten.meshgrid.indexing")
def meshgrid_indexing(net: Net, tensors: Sequence[Tensor], indexing: str) -> list[Tensor]:
    """As `meshgrid`; "xy" gives the second vector the first dimension."""
    if indexing == "ij" or len(tensors) < 2:
        return _grid(net, tensors)
    second, first, *rest = _grid(net, [tensors[1], tensors[0], *tensors[2:]])
    return [first, second, *rest]


def _grid(net: Net, tensors: Sequence[Tensor]) -> list[Tensor]:
    vectors = [t if t.ndim else net.reshape(t, [1]) for t in tensors]
    sizes = [net.size(t, 0) for t in vectors]
    rank = len(vectors)
    return [
        net.expand(net.unsqueeze(t, [a for a in range(rank) if a != i]), sizes)
        for i, t in enumerate(vectors)
    ]
