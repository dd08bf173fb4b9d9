"""Kinds that interpolate between elements: resize, grid_sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Value, accumulated_wide, method, sizes_of
from compiler.network.kinds.shapes import sizes_input
from compiler.network.network import Layer, Size, Tensor
from compiler.network.recorder import Recorder, known


class Resize(Kind):
    """IResizeLayer."""

    name = "resize"

    @staticmethod
    def write(
        net: Recorder, x: Tensor, sizes: Sequence[Size], *, mode: str, coordinates: str,
        rounding: str = "FLOOR", scales: Sequence[float] | None = None, cubic: float = -0.75,
    ) -> Tensor:  # fmt: skip
        """IResizeLayer to `sizes` (all dims); modes NEAREST, LINEAR, CUBIC; TensorRT's coordinate names.

        `scales` (output/input, all dims) replaces `sizes` as TensorRT's way to map coordinates.
        """
        static, tensor = sizes_input(net, sizes)
        attributes = {
            "mode": mode, "coordinates": coordinates, "rounding": rounding, "cubic": cubic,
            "scales": tuple(scales) if scales is not None else None, "sizes": static,
        }  # fmt: skip
        inputs = (x, None if scales is not None else tensor)
        return net.record(Resize, inputs, attributes, [(x.dtype, known(sizes))])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        x, sizes = layer.inputs
        added = e.net.add_resize(e.tensor(x))
        if a["scales"] is not None:
            added.scales = a["scales"]
        elif sizes is not None:
            added.set_input(1, e.tensor(sizes))
        else:
            added.shape = a["sizes"]
        added.resize_mode = getattr(e.trt.InterpolationMode, a["mode"])
        added.coordinate_transformation = getattr(
            e.trt.ResizeCoordinateTransformation, a["coordinates"]
        )
        if a["mode"] == "NEAREST":
            added.nearest_rounding = getattr(e.trt.ResizeRoundMode, a["rounding"])
        if a["mode"] == "CUBIC":
            added.cubic_coeff = a["cubic"]
        return added

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, sizes: Value | None) -> Value:
        """Each output coordinate maps to an input coordinate, then 1-D weights per axis."""
        scales = a["scales"]
        if a["sizes"] is not None or sizes is not None:
            target = sizes_of(a["sizes"], sizes)
        else:
            target = [math.floor(n * s) for n, s in zip(x.shape, scales, strict=True)]
        result = x
        for axis, (size, wanted) in enumerate(zip(x.shape, target, strict=True)):
            if size == wanted and (scales is None or scales[axis] == 1.0):
                continue
            scale = scales[axis] if scales is not None else wanted / size
            position = torch.arange(wanted, dtype=torch.float32)
            if a["coordinates"] == "ALIGN_CORNERS":
                source = position * ((size - 1) / (wanted - 1)) if wanted > 1 else position * 0
            elif a["coordinates"] == "HALF_PIXEL":
                source = (position + 0.5) / scale - 0.5
            else:
                source = position / scale
            result = _interpolate(result, axis, source, a)
        return result


class GridSample(Kind):
    """IGridSampleLayer."""

    name = "grid_sample"

    @staticmethod
    def write(
        net: Recorder, x: Tensor, grid: Tensor, *, mode: str, padding: str, align_corners: bool
    ) -> Tensor:
        """IGridSampleLayer: x [n, c, h, w], grid [n, ho, wo, 2]; padding is a SampleMode."""
        attributes = {"mode": mode, "padding": padding, "align_corners": align_corners}
        shape = (x.shape[0], x.shape[1], grid.shape[1], grid.shape[2])
        return net.record(GridSample, (x, grid), attributes, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_grid_sample(*(e.tensor(t) for t in layer.inputs))
        added.interpolation_mode = getattr(e.trt.InterpolationMode, a["mode"])
        added.sample_mode = getattr(e.trt.SampleMode, a["padding"])
        added.align_corners = a["align_corners"]
        return added

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value, grid: Value) -> Value:
        modes = {"LINEAR": "bilinear", "NEAREST": "nearest", "CUBIC": "bicubic"}
        paddings = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}
        mode, padding = modes[a["mode"]], paddings[a["padding"]]
        return F.grid_sample(x, grid, mode, padding, a["align_corners"])


def _interpolate(x: Value, axis: int, source: Value, a: Attributes) -> Value:
    """x read along one axis at the coordinates `source`."""
    size = x.shape[axis]
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]

    def pick(index: Value) -> Value:
        return x.index_select(axis, index.clamp(0, size - 1).long())

    if a["mode"] == "NEAREST":
        rules: dict[str, Callable[[Value], Value]] = {
            "FLOOR": torch.floor, "CEIL": torch.ceil,
            "HALF_UP": lambda s: torch.floor(s + 0.5), "HALF_DOWN": lambda s: torch.ceil(s - 0.5),
        }  # fmt: skip
        return pick(rules[a["rounding"]](source))
    base = torch.floor(source)
    fraction = source - base
    if a["mode"] == "LINEAR":
        source = source.clamp(0, size - 1)
        base = torch.floor(source)
        fraction = (source - base).reshape(shape)
        return pick(base) * (1 - fraction) + pick(base + 1) * fraction
    c = a["cubic"]
    total = torch.zeros(())
    for offset in (-1, 0, 1, 2):
        d = (fraction - offset).abs()
        near = (c + 2) * d**3 - (c + 3) * d**2 + 1
        far = c * d**3 - 5 * c * d**2 + 8 * c * d - 4 * c
        weight = torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros(())))
        total = total + pick(base + offset) * weight.reshape(shape)
    return total


KINDS: tuple[type[Kind], ...] = (Resize, GridSample)


class Sampling(Recorder):
    """These kinds as methods."""

    resize = method(Resize.write)
    grid_sample = method(GridSample.write)
