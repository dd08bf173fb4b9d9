"""Convolutions and their transposes in one, two and three dimensions.

TensorRT has two and three dimensions. One becomes two, the second of size one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("convolution")
SUPPORT = Support(dtypes=FLOATS)


def _kernel(weight: Value) -> str | None:
    if any(isinstance(n, str) for n in weight.shape):
        return f"expected a kernel of static sizes, got {weight.shape}"
    if len(weight.shape) > 5:
        return f"expected at most 3 spatial dimensions, got {len(weight.shape) - 2}"
    return None


def _each(values: Sequence[int] | int, count: int) -> list[int]:
    """One number per spatial dimension; a single one counts for all."""
    given = [values] if isinstance(values, int) else list(values)
    return given * count if len(given) == 1 else given


# -- convolution ---------------------------------------------------------------------------


@TABLE.converter(
    "aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default", support=SUPPORT, check=_kernel
)  # fmt: skip
def convolve(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial] or, unbatched, [c, *spatial]."""
    pads = _each(padding, weight.ndim - 2)
    return forward(net, input, weight, bias, stride, pads, pads, dilation, groups)


@TABLE.converter(
    "aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding", support=SUPPORT, check=_kernel
)  # fmt: skip
def convolve_padded(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: str, dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """As `convolve`. "same" pads to keep the input's size, with the odd element at the end."""
    rank = weight.ndim - 2
    total = [
        d * ((k or 1) - 1) if padding == "same" else 0
        for d, k in zip(_each(dilation, rank), weight.shape[2:], strict=True)
    ]
    pre, post = [n // 2 for n in total], [n - n // 2 for n in total]
    return forward(net, input, weight, bias, stride, pre, post, dilation, groups)


def forward(
    net: Net, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    pre: Sequence[int], post: Sequence[int], dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """A convolution with explicit padding before and after."""
    rank = weight.ndim - 2
    batched = x.ndim == weight.ndim
    x = x if batched else net.unsqueeze(x, [0])
    fixed = bias if bias is not None and bias.constant is not None else None
    window = [_each(v, rank) for v in (stride, pre, post, dilation)]
    if rank == 1:
        x, weight = net.unsqueeze(x, [3]), raised_kernel(net, weight)
        window = [[*v, n] for v, n in zip(window, (1, 0, 0, 1), strict=True)]
    result = net.convolution(
        x, weight, fixed, stride=window[0], pre=window[1], post=window[2], dilation=window[3], groups=groups
    )  # fmt: skip
    return _finish(net, result, None if bias is fixed else bias, rank, batched)


# -- transposed convolution ----------------------------------------------------------------


@TABLE.converter(
    "aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input",
    support=SUPPORT, check=_kernel,
)  # fmt: skip
def convolve_transposed(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], output_padding: Sequence[int], groups: int, dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """input [n, c, *spatial] or, unbatched, [c, *spatial]; weight [c, o / groups, *k]."""
    return backward(net, input, weight, bias, stride, padding, output_padding, dilation, groups)


def backward(
    net: Net, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], output_padding: Sequence[int], dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """A transposed convolution. The full result loses `padding` at the start and
    `padding - output_padding` at the end; if that is negative, positions that no input reaches are
    added, which are zero before the bias.
    """
    rank = weight.ndim - 2
    batched = x.ndim == weight.ndim
    x = x if batched else net.unsqueeze(x, [0])
    step, pre, extra, spread = (_each(v, rank) for v in (stride, padding, output_padding, dilation))
    post = [p - e for p, e in zip(pre, extra, strict=True)]
    if rank == 1:
        x, weight = net.unsqueeze(x, [3]), raised_kernel(net, weight)
        step, pre, post, spread = [*step, 1], [*pre, 0], [*post, 0], [*spread, 1]
    if max(step) > 1 and max(spread) > 1:  # which TensorRT-RTX does not build together
        weight, spread = _spread_out(net, weight, spread), [1] * len(spread)
    inside = min(post) >= 0
    fixed = bias if inside and bias is not None and bias.constant is not None else None
    result = net.deconvolution(
        x, weight, fixed, stride=step, pre=pre, post=[max(p, 0) for p in post], dilation=spread, groups=groups
    )  # fmt: skip
    if not inside:
        sizes = net.sizes(result)
        for i, p in enumerate(post):
            sizes[2 + i] = net.size_op("add", sizes[2 + i], max(-p, 0))
        zeros, ones = [0] * result.ndim, [1] * result.ndim
        result = net.slice(result, zeros, sizes, ones, "FILL", net.scalar(0, result.dtype))
    return _finish(net, result, None if bias is fixed else bias, rank, batched)


def _spread_out(net: Net, weight: Tensor, dilation: Sequence[int]) -> Tensor:
    """A kernel with zeros in the gaps that its dilation leaves."""
    for axis, d in enumerate(dilation, 2):
        length = weight.shape[axis]
        assert length is not None
        if d == 1 or length == 1:
            continue
        if weight.constant is not None:
            index = torch.arange(length) * d
            shape = [
                d * (length - 1) + 1 if i == axis else n
                for i, n in enumerate(weight.constant.shape)
            ]
            zeros = torch.zeros(shape, dtype=weight.dtype)
            spread = zeros.index_copy(axis, index, weight.constant)
            weight = net.constant(spread, weight.from_weights)
            continue
        gaps = net.unsqueeze(weight, [axis + 1])
        sizes = net.sizes(gaps)
        sizes[axis + 1] = d
        zero, plain = net.scalar(0, weight.dtype), [1] * gaps.ndim
        gaps = net.slice(gaps, [0] * gaps.ndim, sizes, plain, "FILL", zero)
        sizes[axis : axis + 2] = [length * d]
        weight = net.narrow(net.reshape(gaps, sizes), axis, 0, d * (length - 1) + 1)
    return weight


# -- both ----------------------------------------------------------------------------------


@TABLE.converter("aten.convolution.default", support=SUPPORT, check=_kernel)
def convolution(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """A convolution of either kind, of any number of dimensions."""
    return either(
        net, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    )


def either(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """`forward` or `backward`."""
    if transposed:
        return backward(net, input, weight, bias, stride, padding, output_padding, dilation, groups)
    pads = _each(padding, weight.ndim - 2)
    return forward(net, input, weight, bias, stride, pads, pads, dilation, groups)


@TABLE.converter("aten._convolution.default", support=SUPPORT, check=_kernel)
def convolution_(
    net: Net, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int, benchmark: bool, deterministic: bool,
    cudnn_enabled: bool, allow_tf32: bool,
) -> Tensor:  # fmt: skip
    """As `convolution`; the flags choose between kernels of other libraries."""
    return either(
        net, input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
    )


def raised_kernel(net: Net, weight: Tensor) -> Tensor:
    """A kernel with one more spatial dimension of size one; a constant stays one."""
    if weight.constant is not None:
        return net.constant(weight.constant.unsqueeze(-1), weight.from_weights)
    return net.unsqueeze(weight, [weight.ndim])


def _finish(net: Net, x: Tensor, bias: Tensor | None, rank: int, batched: bool) -> Tensor:
    if bias is not None:
        x = net.add(x, net.unsqueeze(bias, [0, *range(2, x.ndim)]))
    x = net.squeeze(x, [3]) if rank == 1 else x
    return x if batched else net.squeeze(x, [0])
