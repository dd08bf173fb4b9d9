"""Sampling at computed coordinates."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from compiler.convert.idioms.numeric import constant, maximum, minimum
from compiler.convert.idioms.positions import size_tensor
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("sample")

MODES = ("LINEAR", "NEAREST", "CUBIC")
PADDING = ("FILL", "CLAMP", "REFLECT")


def _rank_check(input: Value, interpolation_mode: int) -> str | None:
    if len(input.shape) == 5 and MODES[interpolation_mode] == "CUBIC":
        return "expected linear or nearest sampling of volumes, got cubic, which torch lacks too"
    return None


@TABLE.converter(
    "aten.grid_sampler.default", "aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default",
    support=Support(dtypes=FLOATS), check=_rank_check,
)  # fmt: skip
def grid_sampler(
    net: Net, input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:  # fmt: skip
    """input [n, c, h, w] at grid [n, y, x, 2] of coordinates from -1 to 1, or volumes at [n, z, y, x, 3]."""
    mode, padding = MODES[interpolation_mode], PADDING[padding_mode]
    if input.ndim == 4:
        return net.grid_sample(input, grid, mode=mode, padding=padding, align_corners=align_corners)
    return _volume(net, input, grid, mode, padding, align_corners)


# -- volumes: TensorRT's layer samples planes only -------------------------------------------


@dataclass(frozen=True)
class _Pick:
    """One neighbour along one axis for each point [n, points], and its weight [n, points, 1] or []."""

    index: Tensor
    weight: Tensor
    inside: Tensor


def _volume(net: Net, x: Tensor, grid: Tensor, mode: str, padding: str, corners: bool) -> Tensor:
    """Each point gathers and weights its neighbours: 8, or the nearest."""
    batch, channels, *sizes = net.sizes(x)
    places = net.sizes(grid)[1:-1]
    points = net.product(places)
    rows = net.transpose(net.reshape(x, [batch, channels, net.product(sizes)]), [0, 2, 1])
    axes = []
    for axis, size in enumerate(sizes):
        last = net.scalar(len(sizes) - 1 - axis, torch.int64)  # x comes first in the grid
        given = net.reshape(net.gather(grid, last, grid.ndim - 1), [batch, points])
        place = _placed(net, net.cast(given, torch.float32), size, padding, corners)
        axes.append(_neighbours(net, place, size, mode))
    total = None
    for picks in itertools.product(*axes):
        flat, weight, inside = picks[0].index, picks[0].weight, picks[0].inside
        for pick, size in zip(picks[1:], sizes[1:], strict=True):
            flat = net.add(net.mul(flat, size_tensor(net, size)), pick.index)
            weight = net.mul(weight, pick.weight)
            inside = net.elementwise(inside, pick.inside, "AND")
        read = net.cast(net.gather_nd(rows, net.unsqueeze(flat, [2]), 1), torch.float32)
        read = net.select(net.unsqueeze(inside, [2]), read, net.scalar(0.0, torch.float32))
        part = net.mul(read, weight)
        total = part if total is None else net.add(total, part)
    assert total is not None
    result = net.reshape(net.transpose(total, [0, 2, 1]), [batch, channels, *places])
    return net.cast(result, x.dtype)


def _placed(net: Net, given: Tensor, size: Size, padding: str, corners: bool) -> Tensor:
    """Coordinates from -1 to 1 as positions along an axis; those outside are treated as padding says."""
    length = net.tensor(size, torch.float32)
    last = net.sub(length, 1.0)
    if corners:
        place = net.mul(net.mul(net.add(given, 1.0), 0.5), last)
    else:
        place = net.mul(net.sub(net.mul(net.add(given, 1.0), length), 1.0), 0.5)
    if padding == "FILL":
        return place
    if padding == "REFLECT":
        start, span = (0.0, last) if corners else (-0.5, length)
        place = _reflected(net, place, start, span)
    return minimum(net, maximum(net, place, constant(net, 0.0, place)), last)


def _reflected(net: Net, place: Tensor, start: float, span: Tensor) -> Tensor:
    """Positions reflected into the range from start to start + span; 0 if span is 0."""
    far = net.unary(net.sub(place, start), "ABS")
    turns = net.unary(net.div(far, span), "FLOOR")
    rest = net.sub(far, net.mul(turns, span))
    halves = net.mul(net.unary(net.mul(turns, 0.5), "FLOOR"), 2.0)
    folded = net.select(net.equal(turns, halves), rest, net.sub(span, rest))
    some = net.compare(span, 0.0, "GREATER")
    return net.select(some, net.add(folded, start), constant(net, 0.0, place))


def _neighbours(net: Net, place: Tensor, size: Size, mode: str) -> list[_Pick]:
    if mode == "NEAREST":
        return [_pick(net, net.unary(place, "ROUND"), constant(net, 1.0, place), size)]
    below = net.unary(place, "FLOOR")
    fraction = net.unsqueeze(net.sub(place, below), [2])
    return [
        _pick(net, below, net.sub(1.0, fraction), size),
        _pick(net, net.add(below, 1.0), fraction, size),
    ]


def _pick(net: Net, place: Tensor, weight: Tensor, size: Size) -> _Pick:
    """A neighbour at a whole position; one outside, or at NaN, counts as zero."""
    length = net.tensor(size, torch.float32)
    inside = net.elementwise(
        net.compare(place, -1.0, "GREATER"), net.compare(place, length, "LESS"), "AND"
    )
    index = net.cast(net.select(inside, place, constant(net, 0.0, place)), torch.int64)
    return _Pick(index, weight, inside)
