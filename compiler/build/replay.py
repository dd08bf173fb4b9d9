"""Build an engine again with the tactics that were proved, and fail if one changes.

TensorRT's builds are not reproducible, not even from the same timing cache, unless that cache is an
editable one: it holds one tactic for each operation of the network, and a build that finds it there does
not choose. TensorRT has those from 10.8 on; builds with such a version keep them (timing_cache.py).

Two such builds are compared by what was chosen, never by their bytes, which differ between two GPUs of
one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compiler.build.tactics import changes
from compiler.refused import Refused
from enginebundle.errors import BundleError
from enginebundle.format.digest import Digest, parse_json
from enginebundle.storage.store import Store

SHOWN = 5


class ReplayRefused(Refused):
    """Codes: `replay` (there is nothing to replay, or not here), `tactics` (a tactic changed)."""


@dataclass(frozen=True)
class Proved:
    """What a build left beside its engine: the timing cache that it ended with, its tactics' blob, and
    its limit of scratch memory in bytes."""

    cache: Digest
    tactics: Digest
    workspace: int | None

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Proved:
        """Read `Aid.notes`. ReplayRefused if the build kept no timing cache or no tactics."""
        cache = notes.get("timing_cache", {}).get("after")
        if cache is None or notes.get("tactics") is None:
            raise ReplayRefused(
                "replay", "the store does not know which tactics the engine's build chose",
                "build it again: builds of trt targets on a GPU keep them",
            )  # fmt: skip
        return cls(cache, notes["tactics"], notes.get("workspace"))


def editable(trt: Any) -> bool:
    """Whether this version's timing caches can be held to what they say."""
    return "EDITABLE_TIMING_CACHE" in trt.BuilderFlag.__members__


def entries(cache: Any) -> dict[str, str]:
    """Operation -> tactic, by the hashes under which an editable cache has them."""
    return {str(key): hex(cache.query(key).tacticHash) for key in cache.queryKeys()}


class Replay:
    """One build with proved tactics. Must live until it has ended: TensorRT reads the cache."""

    def __init__(self, trt: Any, config: Any, store: Store, proved: Proved) -> None:
        if not editable(trt):
            raise ReplayRefused(
                "replay",
                f"{trt.__name__} {trt.__version__} has no editable timing cache, so a build can't be held "
                "to the tactics that were proved",
                "keep the engine that the store has: it is the one that was proved; or build with "
                "TensorRT 10.8 or newer",
            )
        try:
            data = store.read_blob(proved.cache)
            self._tactics = dict(parse_json(store.read_blob(proved.tactics)))
        except (BundleError, ValueError) as error:
            raise ReplayRefused(
                "replay", f"what was chosen is lost: {error}", "build it anew"
            ) from error
        self._cache = config.create_timing_cache(data)
        if self._cache is None or not config.set_timing_cache(self._cache, False):
            raise ReplayRefused(
                "replay", f"TensorRT does not take the timing cache {proved.cache} on this GPU",
                "use the kind of GPU, driver and TensorRT that built the engine",
            )  # fmt: skip
        self._entries = entries(self._cache)
        config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
        config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)

    def check(self, config: Any, tactics: Mapping[str, str]) -> None:
        """ReplayRefused (`tactics`) if an operation or a layer has another tactic than before."""
        found = entries(config.get_timing_cache())
        changed = (*changes(self._entries, found), *changes(self._tactics, tactics))
        if changed:
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            raise ReplayRefused(
                "tactics", f"{len(changed)} tactics changed: {'; '.join(changed[:SHOWN])}{more}",
                "validate the new engine before it serves, or keep the one that was proved",
            )  # fmt: skip
