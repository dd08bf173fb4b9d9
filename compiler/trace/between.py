"""Whether a program also holds at sizes between the profiles, where a torch graph could serve them.

It was exported for each symbol's smallest min to its largest max, but what torch assumed about sizes was only
compared with the profiles. `holds_between` compares it with everything in that range, and takes nothing on trust
that was not tried for a profile.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch.export import ExportedProgram

from compiler.trace.examples import envelope
from compiler.trace.guards import check_dimensions
from enginebundle.format.spec import Profile, TensorSpec


def holds_between(
    exported: ExportedProgram, inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]
) -> bool:
    """False also where one profile contains all sizes between: there is nothing to hold then."""
    ranges = envelope(inputs, profiles)
    bounds = [(s, r.min, r.max) for s, r in ranges.items()]
    if any(all(_reaches(profile, *one) for one in bounds) for profile in profiles):
        return False

    def tried(values: Mapping[str, int]) -> bool:
        return any(all(n in p.symbols[s] for s, n in values.items()) for p in profiles)

    between = Profile("between", tuple(ranges.items()))
    return check_dimensions(exported, inputs, (between,), agrees=tried) is None


def _reaches(profile: Profile, symbol: str, least: int, most: int) -> bool:
    own = profile.symbols[symbol]
    return own.min <= least and own.max >= most
