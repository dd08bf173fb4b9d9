"""What an optimization profile says about an input: its smallest, likeliest and largest shape."""

from __future__ import annotations

import math
from itertools import product

from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.spec import Profile, TensorSpec

_TRIED = 10_000
"""So many values of the symbols are all tried; of more, the ends of their ranges."""

Shape = tuple[int, ...]


def extents(spec: TensorSpec, profile: Profile) -> tuple[Shape, Shape, Shape]:
    """(min, opt, max), each dimension for itself: `40 - s` is largest where `s` is smallest."""
    ends = [_ends(dim, profile) for dim in spec.shape]
    opt = spec.sizes(profile.at("opt"))
    return tuple(low for low, _ in ends), opt, tuple(high for _, high in ends)


def _ends(dim: Dim, profile: Profile) -> tuple[int, int]:
    """The smallest and the largest value of a dimension."""
    names = sorted(dims.symbols_of(dim))
    bounds = [profile.symbols[name] for name in names]
    few = math.prod(b.max - b.min + 1 for b in bounds) <= _TRIED
    tried = [range(b.min, b.max + 1) if few else (b.min, b.opt, b.max) for b in bounds]
    values = [dims.evaluate(dim, dict(zip(names, point, strict=True))) for point in product(*tried)]
    return min(values), max(values)
