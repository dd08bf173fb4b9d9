"""Resizing and sampling of images, signals and volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch

from compiler.convert.idioms.interpolate import CUBIC, Axis, cubic, linear, nearest
from compiler.convert.idioms.positions import plain
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("resize")
SUPPORT = Support(dtypes=FLOATS)
MODES = {"nearest": "NEAREST", "linear": "LINEAR", "cubic": "CUBIC"}

# -- upsample --------------------------------------------------------------------------------


def resized(
    net: Net, x: Tensor, sizes: Sequence[Size], factors: Sequence[float | None], mode: str, corners: bool
) -> Tensor:  # fmt: skip
    """x [n, c, *spatial] with new spatial sizes.

    mode is nearest, nearest-exact, linear or cubic. TensorRT's layer maps coordinates by the ratio
    of the sizes. Where torch maps by a different factor, or rounds differently, each axis is
    interpolated by gathering.
    """
    first = x.ndim - len(sizes)
    axes = [
        Axis(first + i, plain(net.size(x, first + i)), plain(n), f)
        for i, (n, f) in enumerate(zip(sizes, factors, strict=True))
    ]
    if mode.startswith("nearest"):
        fits = mode == "nearest" and all(a.doubling for a in axes)
    else:
        fits = corners or all(a.exact for a in axes)
    if fits:
        target = [*net.sizes(x)[:first], *(a.after for a in axes)]
        coordinates = "ALIGN_CORNERS" if corners else "HALF_PIXEL"
        if mode == "nearest":
            coordinates = "ASYMMETRIC"
        return net.resize(x, target, mode=MODES[mode], coordinates=coordinates, cubic=CUBIC)
    if mode.startswith("nearest"):
        for axis in axes:
            x = nearest(net, x, axis, centred=mode == "nearest-exact")
        return x
    wide = net.cast(x, torch.float32)
    for axis in axes:
        wide = (linear if mode == "linear" else cubic)(net, wide, axis, corners)
    return net.cast(wide, x.dtype)


def _output(
    net: Net, x: Tensor, size: Sequence[Size] | None, factors: Sequence[float]
) -> list[Size]:
    """The spatial sizes, given or computed as in torch: the size times the factor, rounded down."""
    if size is not None:
        return list(size)
    result: list[Size] = []
    for i, factor in enumerate(factors):
        old = net.size(x, 2 + i)
        if isinstance(old, int):
            result.append(int(old * factor))
        else:
            ratio = _ratio(factor)
            top = net.size_op("mul", old, ratio.numerator)
            result.append(net.size_op("floordiv", top, ratio.denominator))
    return result


def _ratio(factor: float) -> Fraction:
    return Fraction(factor).limit_denominator(64)


def _factor_check(
    input: Value, output_size: object, scale_factors: Sequence[float] | None
) -> str | None:
    if output_size is not None or scale_factors is None:
        return None
    for size, factor in zip(input.shape[2:], scale_factors, strict=False):
        if isinstance(size, str) and float(_ratio(factor)) != factor:
            return f"expected a scale factor in 64ths or coarser fractions, got {factor}"
    return None


def _plain_upsample(op: str, rank: int, mode: str) -> None:
    """`op.default`: it takes sizes, and each axis's factor under its own name."""
    names = ["scales"] if rank == 1 else [f"scales_{axis}" for axis in "dhw"[3 - rank :]]
    aligned = mode in ("linear", "cubic")

    def convert(
        net: Net, x: Tensor, size: Sequence[Size], corners: bool, factors: Sequence[float | None]
    ) -> Tensor:
        return resized(net, x, size, factors, mode, corners)

    TABLE.row(f"{op}.default", _named(convert, names, aligned), SUPPORT)


def _named(
    convert: Callable[..., Tensor], names: Sequence[str], aligned: bool
) -> Callable[..., Tensor]:
    """A converter with the schema's parameter names, which differ between the overloads."""
    import inspect

    def function(net: Net, **given: Any) -> Tensor:
        corners = given.get("align_corners", False)
        factors = [given[name] for name in names]
        return convert(net, given["self"], given["output_size"], corners, factors)

    parameters = ["net", "self", "output_size", *(["align_corners"] if aligned else []), *names]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in parameters]
    )
    return function


for _op, _rank, _mode in (
    ("upsample_nearest1d", 1, "nearest"), ("upsample_nearest2d", 2, "nearest"),
    ("upsample_nearest3d", 3, "nearest"), ("_upsample_nearest_exact1d", 1, "nearest-exact"),
    ("_upsample_nearest_exact2d", 2, "nearest-exact"), ("_upsample_nearest_exact3d", 3, "nearest-exact"),
    ("upsample_linear1d", 1, "linear"), ("upsample_bilinear2d", 2, "linear"),
    ("upsample_trilinear3d", 3, "linear"), ("upsample_bicubic2d", 2, "cubic"),
):  # fmt: skip
    _plain_upsample(f"aten.{_op}", _rank, _mode)


def _nearest_vec(mode: str) -> Callable[..., Tensor]:
    def convert(
        net: Net, input: Tensor, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None
    ) -> Tensor:  # fmt: skip
        factors: list[float | None] = list(scale_factors or ())
        factors = factors or [None] * (input.ndim - 2)
        sizes = _output(net, input, output_size, scale_factors or [])
        return resized(net, input, sizes, factors, mode, False)

    return convert


def _smooth_vec(mode: str) -> Callable[..., Tensor]:
    def convert(
        net: Net, input: Tensor, output_size: Sequence[Size] | None, align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Tensor:  # fmt: skip
        factors: list[float | None] = list(scale_factors or ())
        factors = factors or [None] * (input.ndim - 2)
        sizes = _output(net, input, output_size, scale_factors or [])
        return resized(net, input, sizes, factors, mode, align_corners)

    return convert


for _op in ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"):
    TABLE.row(f"aten.{_op}.vec", _nearest_vec("nearest"), SUPPORT, _factor_check)
for _op in ("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d"):
    TABLE.row(f"aten.{_op}.vec", _nearest_vec("nearest-exact"), SUPPORT, _factor_check)
for _op in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"):
    TABLE.row(f"aten.{_op}.vec", _smooth_vec("linear"), SUPPORT, _factor_check)
TABLE.row("aten.upsample_bicubic2d.vec", _smooth_vec("cubic"), SUPPORT, _factor_check)

# -- with antialiasing: two products with matrices of torch's own weights ----------------------


def _smoothed(
    net: Net, x: Tensor, sizes: Sequence[Size], factors: Sequence[float | None], corners: bool, op: Any
) -> Tensor:  # fmt: skip
    """Rows and columns times constant matrices, which are torch's own resize of the identity."""
    matrices = []
    for i, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
        old, new = x.shape[2 + i], plain(size)
        if old is None or not isinstance(new, int):
            raise ValueError(f"expected static spatial sizes for antialiasing, got {old} to {new}")
        unit = torch.eye(old).reshape(1, 1, old, old)
        made = op(unit, [new, old], corners, factor, None)[0, 0]
        matrices.append(net.constant(made.contiguous()))
    wide = net.cast(x, torch.float32)
    rows = net.matmul(net.unsqueeze(matrices[0], [0, 1]), wide)
    return net.cast(net.matmul(rows, net.unsqueeze(matrices[1], [0, 1]), False, True), x.dtype)


def _static_plane(self: Value, output_size: Sequence[int | Value]) -> str | None:
    if any(isinstance(n, str) for n in self.shape[2:]) or any(
        isinstance(n, Value) for n in output_size
    ):
        return f"expected static spatial sizes for antialiasing, got {self.shape}"
    return None


def _static_input(input: Value, output_size: Sequence[int | Value] | None) -> str | None:
    return _static_plane(input, output_size or [])


def _antialiased(op: str) -> None:
    packet = getattr(torch.ops.aten, op)

    def plain_sizes(
        net: Net, self: Tensor, output_size: Sequence[Size], align_corners: bool, scales_h: float | None,
        scales_w: float | None,
    ) -> Tensor:  # fmt: skip
        factors = [scales_h, scales_w]
        return _smoothed(net, self, output_size, factors, align_corners, packet.default)

    def vector(
        net: Net, input: Tensor, output_size: Sequence[Size] | None, align_corners: bool,
        scale_factors: Sequence[float] | None,
    ) -> Tensor:  # fmt: skip
        factors: list[float | None] = list(scale_factors or ())
        factors = factors or [None] * 2
        sizes = _output(net, input, output_size, scale_factors or [])
        return _smoothed(net, input, sizes, factors, align_corners, packet.default)

    TABLE.row(f"aten.{op}.default", plain_sizes, SUPPORT, _static_plane)
    TABLE.row(f"aten.{op}.vec", vector, SUPPORT, _static_input)


_antialiased("_upsample_bilinear2d_aa")
_antialiased("_upsample_bicubic2d_aa")
