"""The tolerances in force, on a word or two."""

from __future__ import annotations

from collections.abc import Iterable

from enginebundle.format.spec import Tolerance


def tolerance_text(bounds: Iterable[Tolerance]) -> str:
    """`0.012 + 1%`: atol, and rtol of the value; the narrowest and the widest where outputs differ.

    Outputs that must be equal count only if all must.
    """
    listed = list(bounds)
    wide = [bound for bound in listed if bound.atol or bound.rtol]
    if not wide:
        return "exact" if listed else "-"
    low = min(wide, key=lambda bound: (bound.atol, bound.rtol))
    high = max(wide, key=lambda bound: (bound.atol, bound.rtol))
    return _one(low) if low == high else f"{_one(low)} to {_one(high)}"


def _one(bound: Tolerance) -> str:
    return f"{bound.atol:.2g} + {100 * bound.rtol:.2g}%"
