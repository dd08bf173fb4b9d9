"""TensorRT's timing caches, kept in a store: the second model of a family builds faster.

A timing cache holds for one GPU, driver and TensorRT version, and for one set of options. Each such
combination has a record in the store that moves by compare-and-set and names a blob. A build borrows
the latest, and merges back what it timed.

A cache steers which tactics are chosen, so what went in and what came out is noted beside the result;
it is in no key, because the first result wins anyway. One that is damaged or does not fit is ignored
with a note: it costs time, never a build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compiler.build.replay import editable
from enginebundle.errors import BundleError, FormatError, IntegrityError, NotFoundError
from enginebundle.format.digest import Digest, digest_bytes, digest_json, is_digest
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.storage.store import Store


def holds_for(trt: Any, options: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """What a timing cache holds for, as JSON; its digest names the record. `options` are the build's,
    without its profiles: TensorRT's own entries have the sizes."""
    return {
        "gpu": machine.gpu,
        "driver": machine.driver,
        "cuda": machine.cuda,
        trt.__name__: str(trt.__version__),
        "options": dict(options),
    }


@dataclass
class Loan:
    """A timing cache that one build has. Keep it until the build has ended: TensorRT reads it there."""

    store: Store
    conditions: dict[str, Any]
    cache: Any
    before: Digest | None
    notes: list[str] = field(default_factory=list)

    def give_back(self, config: Any) -> dict[str, Any]:
        """Merge what the build timed into the store's latest. Returns what to note; raises nothing of
        the store's: the engine is worth more than its timings."""
        told: dict[str, Any] = {"for": self.conditions, "before": self.before, "after": None}
        try:
            data = _bytes(config.get_timing_cache())
            told["after"] = self.store.put_blob(data)
            if told["after"] != self.before:
                self._merge(config, data, told["after"])
        except BundleError as error:
            self.notes.append(f"not kept: {error}")
        return told | ({"notes": list(self.notes)} if self.notes else {})

    def _merge(self, config: Any, own: bytes, digest: Digest) -> None:
        key = digest_json(self.conditions)
        while True:
            number, record = self.store.timing(key)
            latest = record.get("cache")
            merged, name = own, digest
            # Another build moved it on meanwhile: ours goes into theirs, entry by entry.
            if latest != self.before and (theirs := self._read(latest)) is not None:
                merged = self._combined(config, theirs, own)
                name = self.store.put_blob(merged)
            if name == latest:
                return
            moved = {"cache": name, "bytes": len(merged), "for": self.conditions}
            if self.store.move_timing(key, number, moved):
                return

    def _read(self, digest: Any) -> bytes | None:
        try:
            return _blob(self.store, digest)
        except (NotFoundError, IntegrityError, FormatError) as error:
            self.notes.append(f"ignored: {error}")
            return None

    def _combined(self, config: Any, theirs: bytes, own: bytes) -> bytes:
        base, more = config.create_timing_cache(theirs), config.create_timing_cache(own)
        if base is None or more is None or not base.combine(more, False):
            self.notes.append(
                "replaced: TensorRT could not merge the store's timing cache with this one"
            )
            return own
        return _bytes(base)


def lend(trt: Any, config: Any, store: Store, options: Mapping[str, Any]) -> Loan:
    """Give a build the store's timing cache, or an empty one. Raises nothing for a bad cache."""
    if editable(trt):  # else its build could never be held to what it chose
        config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
    conditions = holds_for(trt, options, this_machine())
    notes: list[str] = []
    before: Digest | None = None
    data = b""
    try:
        _, record = store.timing(digest_json(conditions))
        if record:
            data = _blob(store, record.get("cache"))
            before = digest_bytes(data)
    except BundleError as error:
        notes.append(f"ignored: {error}")
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        if data:
            notes.append(f"ignored: TensorRT does not take {before} for this GPU")
        before = None
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return Loan(store, conditions, cache, before, notes)


def _blob(store: Store, digest: Any) -> bytes:
    if not is_digest(digest):
        raise FormatError(f"the record of a timing cache: expected a digest, got {digest!r}")
    return store.read_blob(digest)


def _bytes(cache: Any) -> bytes:
    data = None if cache is None else cache.serialize()
    if data is None:
        raise FormatError("TensorRT serialized no timing cache")
    return bytes(data)
