"""What torch.export is told about sizes: for each input, axes and their `Dim`s."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from torch.export import Dim

from enginebundle.format import dims
from enginebundle.format.spec import Range, TensorSpec


def dynamic_shapes(
    inputs: tuple[TensorSpec, ...], ranges: Mapping[str, Range], use_names: bool
) -> dict[str, dict[int, Any]]:
    """By input and axis: a `Dim` of that symbol's range, or with it if the size is a line over one symbol;
    `Dim.AUTO` for other expressions, and for all without `use_names`. Sizes that do not move are left out."""
    named: dict[str, Any] = {}
    result: dict[str, dict[int, Any]] = {}
    for spec in inputs:
        result[spec.name] = {}
        for axis, dim in enumerate(spec.shape):
            moving = sorted(s for s in dims.symbols_of(dim) if ranges[s].min < ranges[s].max)
            if not moving:
                continue
            line = _linear(str(dim), moving[0], ranges) if len(moving) == 1 else None
            if line is None:
                result[spec.name][axis] = Dim.AUTO
                continue
            bounds, (slope, offset) = ranges[moving[0]], line
            if not use_names:
                # With a bound, compiler/trace/short_sizes.py knows the sizes that it writes short.
                result[spec.name][axis] = Dim.AUTO(max=max(slope * bounds.max + offset, 2))
                continue
            if moving[0] not in named:
                # torch needs a maximum above 1, which a range of 0 to 1 lacks.
                named[moving[0]] = Dim(moving[0], min=bounds.min, max=max(bounds.max, 2))
            size = named[moving[0]] if slope == 1 else slope * named[moving[0]]
            result[spec.name][axis] = size + offset if offset else size
    return result


def longest(inputs: tuple[TensorSpec, ...], ranges: Mapping[str, Range]) -> int:
    """The largest size of any input."""
    sizes = [1]
    for dim in (dim for spec in inputs for dim in spec.shape):
        ends = [{(s, ranges[s].min), (s, ranges[s].max)} for s in sorted(dims.symbols_of(dim))]
        sizes += [dims.evaluate(dim, dict(corner)) for corner in itertools.product(*ends)]
    return max(sizes)


def _linear(dim: str, symbol: str, ranges: Mapping[str, Range]) -> tuple[int, int] | None:
    """(slope, offset) if `dim` is slope * symbol + offset, as torch's Dim arithmetic needs it."""
    fixed = {name: bounds.min for name, bounds in ranges.items()}
    values = [dims.evaluate(dim, fixed | {symbol: n}) for n in range(65)]
    slope, offset = values[1] - values[0], values[0]
    straight = all(value == slope * n + offset for n, value in enumerate(values))
    return (slope, offset) if straight and slope > 0 else None
