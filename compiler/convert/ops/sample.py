"""Sampling at coordinates that are computed."""

from __future__ import annotations

from compiler.convert.net import Net
from compiler.convert.network import Tensor
from compiler.convert.registry import FLOATS, Support, Table
from enginebundle.graph import Value

TABLE = Table("sample")

MODES = ("LINEAR", "NEAREST", "CUBIC")
PADDING = ("FILL", "CLAMP", "REFLECT")


def _plane(input: Value) -> str | None:
    if len(input.shape) != 4:
        return f"expected rank 4 (TensorRT samples planes only), got {len(input.shape)}"
    return None


@TABLE.converter(
    "aten.grid_sampler.default", "aten.grid_sampler_2d.default", support=Support(dtypes=FLOATS), check=_plane
)  # fmt: skip
def grid_sampler(
    net: Net, input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:  # fmt: skip
    """input [n, c, h, w] at grid [n, y, x, 2] of coordinates from -1 to 1."""
    return net.grid_sample(
        input, grid, mode=MODES[interpolation_mode], padding=PADDING[padding_mode], align_corners=align_corners
    )  # fmt: skip
