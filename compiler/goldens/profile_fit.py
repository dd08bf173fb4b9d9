"""Whether concrete shapes fit a profile: each symbol has one value, within its range."""

from __future__ import annotations

from collections.abc import Mapping

from enginebundle.format import dims
from enginebundle.format.spec import Profile, TensorSpec


def misfits(
    shapes: Mapping[str, tuple[int, ...]], inputs: tuple[TensorSpec, ...], profile: Profile
) -> str:
    """Why the shapes do not fit, in words; an empty string if they do."""
    ranges = profile.symbols
    values: dict[str, int] = {}
    pairs = []
    for spec in inputs:
        shape = shapes[spec.name]
        if len(shape) != len(spec.shape):
            return f"{spec.name} has rank {len(shape)}, expected {len(spec.shape)}"
        pairs += [(spec.name, dim, size) for dim, size in zip(spec.shape, shape, strict=True)]
    # Bare symbols first: they fix the values that expressions use.
    for name, dim, size in sorted(pairs, key=lambda pair: not str(pair[1]).isidentifier()):
        for symbol in sorted(dims.symbols_of(dim) - values.keys()):
            solutions = [
                n
                for n in range(ranges[symbol].min, ranges[symbol].max + 1)
                if _evaluate(dim, values | {symbol: n}) == size
            ]
            if not solutions:
                bounds = ranges[symbol]
                return f"{name} has {size} for {dim}, but {symbol} is {bounds.min} to {bounds.max}"
            values[symbol] = solutions[0]
        if dims.evaluate(dim, values) != size:
            return f"{name} has {size} for {dim}, expected {dims.evaluate(dim, values)}"
    return ""


def _evaluate(dim: dims.Dim, values: Mapping[str, int]) -> int | None:
    """The value of `dim`, or None while one of its symbols has none."""
    return dims.evaluate(dim, values) if dims.symbols_of(dim) <= values.keys() else None
