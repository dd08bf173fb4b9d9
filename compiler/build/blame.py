"""Which nodes an engine can't be built with, where the builder dies or fails without naming one.

Ever smaller sets are left out, and engines for the rest built in a process apart, until no node more
can be spared. The answer is kept in the cache of engines for the engine that failed.
"""

from __future__ import annotations

import time
from typing import Any

from compiler.build.apart import Apart
from compiler.build.builder import BuildRefused
from compiler.build.engine_cache import EngineCache
from compiler.build.networks import BuildRequest, Failure, convert_or_demote
from compiler.build.segments import prepare
from compiler.build.smallest import smallest
from compiler.convert.registry import Refusal, Registry
from compiler.network.network import Network
from compiler.partition.segments import SegmentGraph
from compiler.program import Program
from enginebundle.format.digest import digest_json

SECONDS = 600.0
"""How long one search may take; after that, the smallest set found so far leaves."""


class Search:
    """The search for the nodes of one segment that must leave it. It uses the process `apart`."""

    def __init__(
        self, trt: Any, program: Program, request: BuildRequest, registry: Registry, apart: Apart
    ) -> None:
        self._trt, self._program, self._registry, self._apart = trt, program, registry, apart
        # What these name has left already, and patterns that match nothing are refused.
        self._request = request.without_choices()
        self._known: dict[str, bool] = {}
        self._deadline = time.monotonic() + SECONDS

    def nodes(self, segment: SegmentGraph) -> tuple[str, ...]:
        """The smallest set found of which the rest of the segment can do without; all at worst."""
        part = Program(segment.graph, self._program.weights)
        reason = Refusal("builder", "left out on trial", "")

        def builds(left: frozenset[str]) -> bool:
            demoted = dict.fromkeys(left, reason)
            converted = convert_or_demote(part, self._request, self._registry, demoted)
            pairs = zip(converted.parts.segments, converted.networks, strict=True)
            return all(n is None or self._builds(s, n) for s, n in pairs)

        return smallest(segment.tensor_nodes(), builds)

    def _builds(self, segment: SegmentGraph, network: Network) -> bool:
        prepared = prepare(self._trt, network, self._program, self._request)
        key = digest_json(prepared.identity(self._trt, segment, self._program, self._request))
        if key not in self._known:
            left = self._deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                self._apart.make_engine(
                    self._trt, prepared.network, segment.graph, prepared.options, None, prepared.bound, left
                )  # fmt: skip
            except BuildRefused:
                self._known[key] = False
            else:
                self._known[key] = True
        return self._known[key]


def blamed(failure: Failure, search: Search, engines: EngineCache | None) -> dict[str, Refusal]:
    """The nodes to hand to torch after that failure, each with the reason."""
    segment, error = failure.segment, failure.cause
    everything = segment.tensor_nodes()
    names = search.nodes(segment)
    found = "none of its nodes could stay" if len(names) == len(everything) else (
        f"it builds the other {len(everything) - len(names)} nodes without {', '.join(names[:5])}"
    )  # fmt: skip
    remedy = (
        "these nodes run in torch instead; write that line in another way to have them in an engine"
    )
    refusal = Refusal("builder", f"{error.message}; {found}", remedy)
    result = dict.fromkeys(names, refusal)
    if engines is not None and failure.identity is not None:
        engines.keep_blame(failure.identity, result)
    return result
