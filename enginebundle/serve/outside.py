"""Calls whose sizes no profile contains: the bundle's torch graph answers those between the profiles.

A bundle says whether its program holds there (`Index.between`): for each symbol from its smallest min to its
largest max. Beyond that nobody knows what the model would do. The graph that answers is that of the torch variant
that runs, or of one that the loader accepted beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from enginebundle.format.index import Index
from enginebundle.format.spec import Profile
from enginebundle.format.variant import Part, Variant
from enginebundle.serve.selection import Accepted, Choice
from enginebundle.serve.usage import Memory

if TYPE_CHECKING:
    import torch

    Runner = Callable[[Mapping[str, torch.Tensor], str], dict[str, torch.Tensor]]


class Opens(Protocol):
    """What is asked of a session here."""

    variant: Variant

    @property
    def memory(self) -> Memory: ...
    def runners(self, part: Part) -> tuple[Runner, ...]: ...
    def close(self) -> None: ...


class Outside:
    """Who answers at sizes outside of all profiles, and how often. Any number of threads may ask."""

    def __init__(
        self, index: Index, session: Opens, selection: Sequence[Choice],
        open_variant: Callable[[Variant], Opens],
    ) -> None:  # fmt: skip
        """`open_variant` makes a session of another variant, if that is to answer."""
        self.calls = 0
        self._lock = threading.Lock()
        self._profiles = index.profiles
        self._session = session
        self._served = _torch_part(index, session.variant, selection) if index.between else None
        self._open_variant = open_variant
        self._beside: Opens | None = None

    @property
    def memory(self) -> Memory:
        """What another variant holds that was opened for this."""
        return Memory() if self._beside is None else self._beside.memory

    def close(self) -> None:
        """Close that."""
        if self._beside is not None:
            self._beside.close()

    def serving(self, symbols: Mapping[str, int]) -> tuple[Part, tuple[Runner, ...]] | None:
        """The part that answers, and its runners; None if none does."""
        if self._served is None or not _between(self._profiles, symbols):
            return None
        variant, part = self._served
        first, *rest = self._open(variant).runners(part)

        def counted(values: Mapping[str, torch.Tensor], profile: str) -> dict[str, torch.Tensor]:
            with self._lock:
                self.calls += 1
            return first(values, profile)

        return part, (counted, *rest)

    def _open(self, variant: Variant) -> Opens:
        if variant is self._session.variant:
            return self._session
        with self._lock:
            if self._beside is None:
                self._beside = self._open_variant(variant)
            return self._beside


def _torch_part(
    index: Index, chosen: Variant, selection: Sequence[Choice]
) -> tuple[Variant, Part] | None:
    """A torch variant that may run here, if one graph of it serves all profiles."""
    accepted = [index.variant(one.target) for one in selection if isinstance(one, Accepted)]
    for variant in (chosen, *accepted):
        if variant is not None and variant.target.backend == "torch" and len(variant.parts) == 1:
            return variant, variant.parts[0]
    return None


def _between(profiles: Sequence[Profile], symbols: Mapping[str, int]) -> bool:
    """Whether each size lies from the smallest min to the largest max of its symbol."""
    for name, size in symbols.items():
        ranges = [profile.symbols[name] for profile in profiles if name in profile.symbols]
        if not ranges or not min(r.min for r in ranges) <= size <= max(r.max for r in ranges):
            return False
    return True
