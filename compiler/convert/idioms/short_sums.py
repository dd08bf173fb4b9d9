"""Short sums in static tensors, lengthened with what changes nothing.

TensorRT-RTX 1.5 unrolls a reduction, softmax or matrix product over 2 to 6 elements where every size
is static and, where another reduction reads what becomes of it, fuses the two wrongly: such engines
gave wrong numbers on an H100, and none did with a longer or a dynamic axis
(benchmarks/results/gpu_short_sums.json). Padded to LENGTH elements they are right. It may be what
reads.py describes, of reads that TensorRT-RTX makes itself: x and x's first element of the unrolled
sum.

    short_axis(x, axes) -> the axis, or None where there is no such case
    lengthen(net, x, axis, value) -> x with LENGTH elements along the axis, the new ones `value`
    NEUTRAL -> what to lengthen with, by the reduction's name
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from compiler.network.kinds import Layers
from compiler.network.network import Tensor

LENGTH = 8
NEUTRAL = {"SUM": 0.0, "PROD": 1.0, "MAX": -math.inf, "MIN": math.inf}


def short_axis(x: Tensor, axes: Sequence[int]) -> int | None:
    """The one axis among `axes` that has more than one element, if it is short and x static."""
    longer = [axis for axis in axes if x.shape[axis] != 1]
    if not x.is_static or len(longer) != 1 or x.shape[longer[0]] not in range(2, LENGTH):
        return None
    return longer[0]


def lengthen(net: Layers, x: Tensor, axis: int, value: float) -> Tensor:
    if math.isinf(value) and not x.dtype.is_floating_point:
        limits = torch.iinfo(x.dtype)
        value = limits.max if value > 0 else limits.min
    sizes = [LENGTH if i == axis else n for i, n in enumerate(x.shape) if n is not None]
    fill = net.constant(torch.tensor(value, dtype=x.dtype))
    return net.slice(x, [0] * x.ndim, sizes, [1] * x.ndim, "FILL", fill)
