"""Group norm: statistics over the channels of each group and all spatial dims."""

from __future__ import annotations

from compiler.convert.idioms.statistics import mean_and_scale, on_channels, standardized
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Size, Tensor

TABLE = Table("group_norm")

SUPPORT = Support(dtypes=FLOATS)


@TABLE.converter("aten.group_norm.default", support=SUPPORT)
def group_norm(
    net: Net, input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None,
    eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial], normalized within each group of channels, then weight and bias [c]."""
    return _grouped(net, input, num_groups, weight, bias, eps)


@TABLE.converter("aten.native_group_norm.default", support=SUPPORT)
def native_group_norm(
    net: Net, input: Tensor, weight: Tensor | None, bias: Tensor | None, N: Size, C: Size,
    HxW: Size, group: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`group_norm` with the mean and 1 / sqrt(variance + eps) of each group, [n, group]."""
    result = _grouped(net, input, group, weight, bias, eps)
    mean, inverse = mean_and_scale(net, _in_groups(net, input, group)[0], [2], eps)
    kept = weight.dtype if weight is not None else input.dtype
    mean, inverse = (net.cast(net.squeeze(t, [2]), kept) for t in (mean, inverse))
    return result, mean, inverse


def _grouped(
    net: Net, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Built from reductions: TensorRT's own layer takes groups in rank 4 and 5 only."""
    parts, sizes = _in_groups(net, x, groups)
    normal = standardized(net, parts, [2], eps)[0]
    return on_channels(net, net.reshape(normal, sizes), weight, bias, x.dtype)


def _in_groups(net: Net, x: Tensor, groups: int) -> tuple[Tensor, list[Size]]:
    """x as [n, groups, the rest], and its sizes."""
    sizes = net.sizes(x)
    rest = net.size_op("floordiv", net.product(sizes[1:]), groups)
    return net.reshape(x, [sizes[0], groups, rest]), sizes
