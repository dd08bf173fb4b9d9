"""What would run where: a program's partition for a target, and the networks of its engine segments.

convert_program(program, request) -> Converted(parts, networks)      nothing is built
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.build.builder import BuildRefused
from compiler.build.effort import DEFAULT
from compiler.convert.interpret import ConversionError, convert, value_table
from compiler.convert.registry import Refusal, Registry
from compiler.network.chained_scans import chained_scans
from compiler.network.network import Network
from compiler.partition import Partition, PartitionOptions, partition
from compiler.partition.segments import SegmentGraph
from compiler.program import Program
from compiler.replace.apply import Replacement, registry_with
from enginebundle.format.graph import Graph, Node
from enginebundle.format.spec import Profile, Target, Tolerance

MAX_DEMOTED = 10_000
"""How many nodes may be handed to torch, after a converter or the builder failed on them."""

_TORCH_TARGET = Refusal("target", "the target runs everything in torch")
_CHAINED = (
    "scan", "TensorRT computes a loop over dynamic sizes wrongly behind another such loop",
    "give the steps a fixed number (and the batch, for both directions), or let these layers run in torch",
)  # fmt: skip
"""Of compiler/network/chained_scans.py."""


@dataclass(frozen=True)
class BuildRequest:
    """What to build a program for: `profiles` on one `target`."""

    target: Target
    profiles: tuple[Profile, ...]
    precision: str = "fp32"
    torch_executed_modules: tuple[str, ...] = ()
    torch_executed_ops: tuple[str, ...] = ()
    require_full_compilation: bool = False
    min_nodes: int = 1
    tolerance: tuple[tuple[str, Tolerance], ...] = ()
    """Tolerances for outputs by name, `*` for all others, instead of the table's."""
    replace: tuple[Replacement, ...] = ()
    """As in the TraceRequest; a build uses the converters and plugins among them."""
    search_path: tuple[str, ...] = ()
    """Folders searched for the entrypoints of `replace` and `plugins` before `sys.path`."""
    plugins: tuple[str, ...] = ()
    """Entrypoints that register TensorRT plugins, or `operators`; called for a `trt` target, or for these."""
    effort: str = DEFAULT
    """How much work TensorRT puts into an engine; other backends have no such choice."""
    version_compatible: bool = False
    """Later versions of TensorRT open the engines too: for trt targets only."""
    refit: bool = False
    """Build engines without weights, which they get when they are opened; `trt` targets only."""

    operators: tuple[str, ...] = ()
    """What torch segments may call besides the reviewed operators, by full name."""

    def without_choices(self) -> BuildRequest:
        """The request without what chooses nodes for torch by name."""
        return replace(
            self, torch_executed_modules=(), torch_executed_ops=(), require_full_compilation=False
        )


@dataclass(frozen=True)
class Converted:
    """A partition, and a network for each of its engine segments; None for the torch ones."""

    parts: Partition
    networks: tuple[Network | None, ...]


def convert_program(program: Program, request: BuildRequest) -> Converted:
    """Partition and convert without building: what would run where.

    Raises PartitionRefused (full compilation was required, or a pattern matches nothing) and
    ReplaceRefused.
    """
    registry = registry_with(request.replace, request.target, request.search_path)
    return convert_or_demote(program, request, registry, {})


def convert_or_demote(
    program: Program, request: BuildRequest, registry: Registry, demoted: dict[str, Refusal]
) -> Converted:
    """Partition and convert; a node whose converter fails is added to `demoted`, to run in torch."""
    while len(demoted) <= MAX_DEMOTED:
        parts = _partition(program.graph, request, registry, demoted)
        try:
            return Converted(parts, tuple(_convert(parts, program, request, registry)))
        except Demote as demotion:
            if request.require_full_compilation:
                raise demotion.cause from None
            demoted |= demotion.nodes
    raise gave_up(demoted)


def _partition(
    graph: Graph, request: BuildRequest, registry: Registry, demoted: Mapping[str, Refusal]
) -> Partition:
    if request.target.backend == "torch":
        whole = partition(graph, lambda node: _TORCH_TARGET)
        return replace(whole, report=replace(whole.report, kept=()))
    values = value_table(graph)

    def refuse(node: Node) -> Refusal | None:
        found = demoted.get(node.name) or registry.find(node, values)
        return found if isinstance(found, Refusal) else None

    options = PartitionOptions(
        request.torch_executed_modules, request.torch_executed_ops, request.min_nodes,
        request.require_full_compilation,
    )  # fmt: skip
    return partition(graph, refuse, options)


def _convert(
    parts: Partition, program: Program, request: BuildRequest, registry: Registry
) -> list[Network | None]:
    """A network for each engine segment, None for the torch ones. Raises Demote if a converter fails."""
    pinned = pinned_symbols(request.profiles)
    networks: list[Network | None] = []
    for segment in parts.segments:
        if segment.kind != "engine":
            networks.append(None)
            continue
        try:
            network = convert(segment.graph, program.weights, registry, pinned)
        except ConversionError as error:
            raise Demote({error.node.name: error.refusal}, error) from error
        if request.target.backend == "trt" and (nodes := chained_scans(network)):
            why = Refusal(*_CHAINED)
            raise Demote(dict.fromkeys(nodes, why), BuildRefused(*_CHAINED, node=nodes[0]))
        networks.append(network)
    return networks


def pinned_symbols(profiles: Sequence[Profile]) -> dict[str, int]:
    """The symbols that have one value, the same in all profiles, with it."""
    bounds: dict[str, set[int]] = {}
    for symbol, of in (found for profile in profiles for found in profile.ranges):
        bounds[symbol] = bounds.get(symbol, set()) | {of.min, of.max}
    return {symbol: one for symbol, (one, *more) in bounds.items() if not more}


def gave_up(demoted: Mapping[str, Refusal]) -> BuildRefused:
    """The refusal once more than MAX_DEMOTED nodes have failed."""
    return BuildRefused(
        "demotions", f"gave up after handing {len(demoted)} nodes to torch",
        "see the report; leave the failing modules in torch with torch_executed_modules",
    )  # fmt: skip


class Demote(Exception):
    """Hand these nodes to torch and try again."""

    def __init__(self, nodes: dict[str, Refusal], cause: Exception) -> None:
        super().__init__(str(cause))
        self.nodes = nodes
        self.cause = cause


class Failure(Exception):
    """A segment's engine could not be built, and nothing says which node is at fault.

    `identity` is that of the engine, where there is a cache that could keep the answer.
    """

    def __init__(
        self, segment: SegmentGraph, cause: BuildRefused, identity: Mapping[str, Any] | None
    ) -> None:
        super().__init__(str(cause))
        self.segment = segment
        self.cause = cause
        self.identity = identity
