"""NumPy's advanced indexing: index tensors of several dims combined into one."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.positions import size_tensor, wrap_index
from compiler.convert.net import Net
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

MASK_REASON = (
    "expected integer indices, got a bool mask: the size of its result depends on data, "
    "which TensorRT-RTX cannot run"
)


def index_check(self: Value, indices: Sequence[Value | None]) -> str | None:
    """Why an index list cannot be converted, or None."""
    given = [v for v in indices if v is not None]
    if any(v.dtype in ("bool", "uint8") for v in given):
        return MASK_REASON
    rank = len(self.shape) - len(given) + max((len(v.shape) for v in given), default=0)
    if rank > 8:
        return f"expected a result of at most 8 dimensions (TensorRT's limit), got {rank}"
    return None


class Indexing:
    """The indexed dims of a tensor merged into one, and its index tensors combined into one.

    Adjacent dims stay in place; separated ones move to the front, as in NumPy, where the dims of the
    index then come first in the result. `merged` is x with the indexed dims (moved and) merged at
    dim `first`; `flat` holds positions in that dim and has the broadcast shape of the indices.
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
        """The sizes of the indexed dims."""
        self.moved_sizes = sizes
        self.merged = moved
        if len(self.axes) > 1:
            count = net.product(self.sizes)
            self.merged = net.reshape(moved, [*sizes[: self.first], count, *sizes[last:]])
        self.flat = self._flat(given)

    def _flat(self, given: Sequence[Tensor]) -> Tensor:
        """Row-major positions in the indexed dims."""
        net = self.net
        flat = wrap_index(net, given[0], self.sizes[0])
        for tensor, size in zip(given[1:], self.sizes[1:], strict=True):
            flat = net.add(net.mul(flat, size_tensor(net, size)), wrap_index(net, tensor, size))
        return flat
