"""What goes along with a build and is in no key: a timing cache, a limit of scratch memory, a listener.

    Aids(store, listener)                    what the caller has to offer
    aid = Aid(trt, config, aids, options)    one build's, set before it
    aid.notes(engine)                        after it: what to record beside the engine

TensorRT-RTX builds without a GPU and times nothing, so there only the listener counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.build.apart import Apart
from compiler.build.effort import times_tactics
from compiler.build.progress import Listener, Phase, make_monitor
from compiler.build.replay import Proved, Replay, ReplayRefused, editable
from compiler.build.tactics import chosen
from compiler.build.timing_cache import lend
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.storage.store import Store

GIB = 1 << 30
SHARE = 0.75
"""Of the GPU's free memory, how much one layer's scratch buffers may take. The rest holds the network's
weights and activations while a tactic is timed; TensorRT's own limit is the whole GPU, whoever uses it."""


@dataclass(frozen=True)
class Aids:
    """`store` keeps timing caches and what was chosen; `listener` hears of progress and may stop a build.

    With `proved`, every engine is built again as it was: it maps engines' keys to what their builds left.
    `replay` is the one of them that a build is held to. With `apart`, engines are built in that process,
    of which the listener hears nothing.
    """

    store: Store | None = None
    listener: Listener | None = None
    proved: Mapping[Digest, Proved] | None = None
    replay: Proved | None = None
    apart: Apart | None = None

    def tell(self, work: str, steps: int) -> None:
        """Tell of work that is no builder's."""
        if self.listener is not None:
            self.listener((Phase(work, 0, steps),))

    def again(self, trt: Any, left: Mapping[str, Any]) -> Aids:
        """For an engine that was lost: hold its build to what the first one `left`, if this version can."""
        if self.store is None or not editable(trt):
            return self
        return replace(self, replay=Proved.of(left))

    def replaying(self, key: Digest) -> Aids:
        """Hold a build to what was proved of the engine of that key. ReplayRefused if nothing was."""
        if self.proved is None or self.store is None or key not in self.proved:
            raise ReplayRefused(
                "replay", f"no build of the engine {key} is known: its network, options or toolchain differ",
                "use the installation that built it; `kiln explain` compares two results",
            )  # fmt: skip
        return replace(self, replay=self.proved[key])


class Aid:
    """The aids of one build. Must live until it has ended: the builder reads from them."""

    def __init__(self, trt: Any, config: Any, aids: Aids, options: Mapping[str, Any]) -> None:
        self._trt, self._config, self._aids = trt, config, aids
        self._times = times_tactics(trt)
        self._monitor = None if aids.listener is None else make_monitor(trt, aids.listener)
        if self._monitor is not None:
            config.progress_monitor = self._monitor
        self._workspace: int | None = None
        self._loan = None
        self._replay = None
        if aids.replay is not None and aids.store is not None:
            self._replay = Replay(trt, config, aids.store, aids.replay)
        if self._times:
            # In every build, so that what a caller wants to know does not change the engine.
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
            self._workspace = limit_workspace(trt, config, free_memory(), aids.replay)
            if aids.store is not None and self._replay is None:
                self._loan = lend(trt, config, aids.store, options)

    @property
    def stopped(self) -> bool:
        """Whether the listener ended the build."""
        return self._monitor is not None and self._monitor.stopped

    def notes(self, logger: Any, engine: Any) -> dict[str, Any]:
        """What the build depended on besides its key, as JSON: `workspace` bytes, `timing_cache`, and the
        blob of `tactics` (layer -> tactic). Empty for TensorRT-RTX. ReplayRefused if the build was held
        to proved tactics and has others."""
        found: dict[str, Any] = {}
        if self._workspace is not None:
            found["workspace"] = self._workspace
        if self._loan is not None:
            found["timing_cache"] = self._loan.give_back(self._config)
        if self._times and self._aids.store is not None:
            tactics = chosen(self._trt, logger, engine)
            if self._replay is not None:
                self._replay.check(self._config, tactics)
            found["tactics"] = (
                self._aids.store.put_blob(canonical_json(tactics)) if tactics else None
            )
        return found


def limit_workspace(trt: Any, config: Any, free: int, proved: Proved | None = None) -> int | None:
    """Limit scratch memory to a share of the free bytes, in whole GiB so that small differences do not
    count; or to what it was when the engine was `proved`. Returns the limit; None, and TensorRT's own
    limit, if less than one GiB would be left."""
    limit = int(free * SHARE) // GIB * GIB if proved is None else proved.workspace
    if not limit:
        return None
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limit)
    return limit


def free_memory() -> int:
    """Bytes free on CUDA's current device; 0 without one."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
