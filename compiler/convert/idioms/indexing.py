"""NumPy's advanced indexing: the index tensors of several dims as one index."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.convert.idioms.positions import size_tensor, wrap_index
from compiler.convert.net import Net
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

MASK_REASON = "a bool mask gives a result whose size depends on data, which TensorRT-RTX cannot run"


def index_check(self: Value, indices: Sequence[Value | None]) -> str | None:
    """Why an index list cannot be taken."""
    given = [v for v in indices if v is not None]
    if any(v.dtype in ("bool", "uint8") for v in given):
        return MASK_REASON
    if len(self.shape) - len(given) + max((len(v.shape) for v in given), default=0) > 8:
        return "the result has more than TensorRT's 8 dimensions"
    return None


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
