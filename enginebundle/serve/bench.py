"""How long calls of a session take, for each of the bundle's goldens."""

from __future__ import annotations

import time
from dataclasses import dataclass

from enginebundle.errors import NotFoundError
from enginebundle.serve.session import Session

_FEWEST = 10
"""Calls of each golden, however long they take."""


@dataclass(frozen=True)
class Timing:
    """Of one golden: its profile, how many calls there were, and what one took, in milliseconds."""

    golden: str
    profile: str
    calls: int
    p50_ms: float
    p99_ms: float


def bench(session: Session, seconds: float) -> tuple[Timing, ...]:
    """`warm_up`, then call the session with each golden for so long, one call after the other.

    A call ends when its outputs are there: on the CPU, where the goldens' inputs are, too. Raises
    NotFoundError if the bundle has no goldens, and what `warm_up` raises.
    """
    index = session.bundle.index
    if not index.goldens:
        raise NotFoundError(f"{session.version} has no goldens to call it with")
    session.warm_up()
    found = []
    for golden in index.goldens:
        tensors = session.bundle.read_tensors(golden.blob)
        inputs = {spec.name: tensors[f"input.{spec.name}"] for spec in session.inputs}
        took: list[float] = []
        end = time.perf_counter() + seconds
        while len(took) < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            session(**inputs)
            took.append((time.perf_counter() - start) * 1e3)
        took.sort()
        profile = session.profile_for(**inputs).name
        found.append(Timing(golden.name, profile, len(took), _at(took, 0.5), _at(took, 0.99)))
    return tuple(found)


def _at(values: list[float], share: float) -> float:
    """The value that this share of the sorted values do not exceed."""
    return round(values[min(int(len(values) * share), len(values) - 1)], 4)
