"""What a pass is, and the runner that cleans up after each and checks what it left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)

from compiler.refused import Refused
from enginebundle.format.digest import Digest, digest_json

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""tf32 is fp32 here: it is a permission for matrix units, not a dtype of the graph."""


class LowerRefused(Refused):
    """The program can't be lowered. Codes: `precision`, `decompose`, `invalid` (a pass's fault)."""


@dataclass(frozen=True)
class Options:
    """What the passes may depend on."""

    keep: frozenset[str]
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise LowerRefused(
                "precision",
                f"precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}",
                "correct the precision",
            )


@dataclass(frozen=True)
class Pass:
    """A rewrite of a program that the runner may edit in place, with its contract in words.

    `reads` names the Options the pass depends on: they are part of its spelling.
    """

    name: str
    requires: str
    ensures: str
    run: Callable[[ExportedProgram, Options], ExportedProgram]
    reads: tuple[str, ...] = ()

    def spell(self, options: Options) -> str:
        """`name`, or `name{option=value}`; sets sorted and joined with commas."""
        parts = []
        for name in self.reads:
            value = getattr(options, name)
            parts.append(f"{name}={value if isinstance(value, str) else ','.join(sorted(value))}")
        return f"{self.name}{{{' '.join(parts)}}}" if parts else self.name


@dataclass(frozen=True)
class Record:
    """One pass as it ran: whether the graph's digest changed, and the calls before and after."""

    name: str
    changed: bool
    before: int
    after: int


def run_passes(
    exported: ExportedProgram, passes: tuple[Pass, ...], options: Options
) -> tuple[ExportedProgram, tuple[Record, ...]]:
    """Run passes in order; after each: dead code out, signature in step, metadata checked.

    The first pass must make a new program (decompose does), so that the given one stays as it is.
    """
    records = []
    digest, calls = graph_digest(exported), _calls(exported)
    for one in passes:
        exported = one.run(exported, options)
        clean_up(exported)
        _check(exported, one.name)
        after, calls_after = graph_digest(exported), _calls(exported)
        records.append(Record(one.name, after != digest, calls, calls_after))
        digest, calls = after, calls_after
    exported.graph_module.recompile()
    return exported, tuple(records)


def is_pure(node: torch.fx.Node) -> bool:
    """Whether equal arguments always give an equal result, with no effect besides."""
    if isinstance(node.target, torch._ops.OpOverload):
        random = torch.Tag.nondeterministic_seeded in node.target.tags
        return not (random or node.target._schema.is_mutable)
    return not isinstance(node.target, torch._ops.HigherOrderOperator)


def weight_nodes(exported: ExportedProgram) -> dict[torch.fx.Node, torch.Tensor]:
    """The placeholders of parameters, buffers and constants, with their tensors.

    Buffers that forward writes are left out: they are no constants, and capture refuses them.
    """
    nodes = {n.name: n for n in exported.graph.nodes if n.op == "placeholder"}
    written = exported.graph_signature.buffers_to_mutate.values()
    result = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT or spec.target in (None, *written):
            continue
        state, constants = exported.state_dict, exported.constants
        target = spec.target or ""
        value = state[target] if target in state else constants.get(target)
        if isinstance(value, torch.Tensor):
            result[nodes[spec.arg.name]] = value.detach()
    return result


def clean_up(exported: ExportedProgram) -> None:
    """Remove dead calls, and put the output signature in step with the output node."""
    graph = exported.graph
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and is_pure(node):
            graph.erase_node(node)
    (output,) = [n for n in graph.nodes if n.op == "output"]
    for spec, leaf in zip(exported.graph_signature.output_specs, output.args[0], strict=True):
        spec.arg = _argument(leaf)
    graph.lint()


def graph_digest(exported: ExportedProgram) -> Digest:
    """Identity of the graph's calls, arguments and edges; weights by name only."""
    index = {node: n for n, node in enumerate(exported.graph.nodes)}

    def spell(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return ["node", index[value]]
        if isinstance(value, list | tuple):
            return [spell(item) for item in value]
        if isinstance(value, dict):
            return {key: spell(item) for key, item in value.items()}
        return [type(value).__name__, str(value)]

    return digest_json(
        [
            [n.op, str(n.target), spell(n.args), spell(n.kwargs), str(_dtype(n))]
            for n in exported.graph.nodes
        ]
    )


def _dtype(node: torch.fx.Node) -> Any:
    return getattr(node.meta.get("val"), "dtype", None)


def _calls(exported: ExportedProgram) -> int:
    return sum(node.op == "call_function" for node in exported.graph.nodes)


def _argument(leaf: Any) -> Any:
    if not isinstance(leaf, torch.fx.Node):
        return ConstantArgument(name="", value=leaf)
    value = leaf.meta.get("val")
    if isinstance(value, torch.SymInt | int):
        return SymIntArgument(name=leaf.name)
    if isinstance(value, torch.SymFloat | float):
        return SymFloatArgument(name=leaf.name)
    if isinstance(value, torch.SymBool | bool):
        return SymBoolArgument(name=leaf.name)
    return TensorArgument(name=leaf.name)


def _check(exported: ExportedProgram, name: str) -> None:
    for node in exported.graph.nodes:
        if node.op != "output" and "val" not in node.meta:
            raise LowerRefused(
                "invalid",
                f"pass {name} left node {node.name} ({node.target}) without metadata",
                "report this model: the fault is in the compiler",
            )
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            raise LowerRefused(
                "invalid",
                f"after pass {name}, node {node.name} ({node.target}) still changes its arguments",
                "use the functional form of the operator in the model",
            )
