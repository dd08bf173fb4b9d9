"""What the user wants kept in torch: modules by path, class or glob, operators by name or glob."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from compiler.convert.registry import Refusal
from compiler.partition.report import PartitionRefused
from compiler.trace.names import packet
from enginebundle.format.graph import Graph, Node

NEAR = 5
"""How many near matches an error names."""


def executed_in_torch(
    graph: Graph, modules: Sequence[str], operators: Sequence[str]
) -> dict[int, Refusal]:
    """The reason for each node that a pattern matches, by the node's index.

    A module pattern is a path (`encoder.layer.0`), a class name (`BertAttention`) or a glob over
    either; it covers everything below the module. An operator pattern is an overload
    (`aten.gelu.default`), a packet (`aten.gelu`) or a glob. Raises PartitionRefused if a pattern
    matches nothing.
    """
    found: dict[int, Refusal] = {}
    classes = _classes(graph)
    names = [_module_names(node, classes) for node in graph.nodes]
    for pattern in modules:
        hits = [i for i, own in enumerate(names) if _matches(pattern, own)]
        if not hits:
            known = {name for own in names for name in own if name}
            raise _nothing("unknown_module", "torch_executed_modules", "module", pattern, known)
        found |= {i: _chosen("torch_executed_modules", "module", pattern) for i in hits}
    for pattern in operators:
        plain = pattern.removeprefix("torch.ops.").replace("::", ".")
        hits = [i for i, n in enumerate(graph.nodes) if _matches(plain, (n.op, packet(n.op)))]
        if not hits:
            known = {name for n in graph.nodes for name in (n.op, packet(n.op))}
            raise _nothing("unknown_op", "torch_executed_ops", "operator", pattern, known)
        found |= {i: _chosen("torch_executed_ops", "operator", pattern) for i in hits}
    return found


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names if name)


def _classes(graph: Graph) -> dict[str, set[str]]:
    """Class names known for each module path."""
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        if node.origin.module_class:
            own = found.setdefault(node.origin.module, set())
            own.update(_class_names(node.origin.module_class))
    return found


def _class_names(module_class: str) -> set[str]:
    """`timm.layers.Mlp` -> itself and `Mlp`; classes of enclosing modules may come first, `A/B`."""
    whole = module_class.split("/")
    return {*whole, *(name.rsplit(".", 1)[-1] for name in whole)}


def _module_names(node: Node, classes: Mapping[str, set[str]]) -> set[str]:
    """Paths and class names of the node's module and of all modules around it."""
    parts = node.origin.module.split(".") if node.origin.module else []
    paths = {".".join(parts[: end + 1]) for end in range(len(parts))}
    around = set().union(*(classes.get(path, set()) for path in paths | {""}))
    return paths | around | _class_names(node.origin.module_class)


def _chosen(option: str, what: str, pattern: str) -> Refusal:
    return Refusal(
        "torch_executed",
        f"{option} keeps every node whose {what} matches {pattern!r} in torch",
        f"remove {pattern!r} from {option} to compile it",
    )


def _nothing(code: str, option: str, what: str, pattern: str, known: set[str]) -> PartitionRefused:
    # A cutoff of 0.5 finds parts of a path too: `layer.1.atention` in `encoder.layer.1.attention`.
    lowered = {name.lower(): name for name in sorted(known)}
    near = [lowered[n] for n in difflib.get_close_matches(pattern.lower(), lowered, NEAR, 0.5)]
    near += [n for n in sorted(known) if pattern.strip("*.").lower() in n.lower() and n not in near]
    listed = ", ".join((near or sorted(known))[:NEAR]) or "none: the graph names no module"
    return PartitionRefused(
        code,
        f"{option}: expected {pattern!r} to match some {what} of the model, but it matches none",
        f"near matches: {listed}" if near else f"the model has: {listed}",
    )
