"""Constant folding: whatever depends on weights alone is computed once, at compile time."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

from compiler.lower.conditions import functional
from compiler.lower.graphs import calls, is_pure, weight_nodes
from compiler.lower.passes import LowerOptions, Pass

GROWTH = 1 << 20
"""Bytes by which a folded constant may exceed the weights that it makes unnecessary."""


def _fold(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    weights = weight_nodes(exported)
    known: dict[torch.fx.Node, Any] = dict(weights)
    for node in exported.graph.nodes:
        if node.op == "call_function" and _is_constant(node, known):
            with torch.no_grad():
                known[node] = _call(node, known)
    for group in _groups(known):
        frontier = [n for n in group if n not in weights and any(u not in known for u in n.users)]
        frontier = [n for n in frontier if isinstance(known[n], torch.Tensor)]
        freed = sum(
            _bytes(weights[n]) for n in group if n in weights and all(u in known for u in n.users)
        )
        together = sum(_bytes(known[n]) for n in frontier) - freed <= GROWTH
        for node in frontier:
            if together or _bytes(known[node]) - _freed(node, weights) <= GROWTH:
                tensor = known[node].contiguous().clone()
                node.replace_all_uses_with(add_constant(exported, node.name, tensor, node))
    return exported


def _groups(known: dict[torch.fx.Node, Any]) -> list[list[torch.fx.Node]]:
    """The constant nodes, in connected groups, such as the three parts of one split weight."""
    parent = {node: node for node in known}

    def root(node: torch.fx.Node) -> torch.fx.Node:
        while parent[node] is not node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in known:
        for source in node.all_input_nodes:
            parent[root(node)] = root(source)
    groups: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for node in known:
        groups.setdefault(root(node), []).append(node)
    return list(groups.values())


def _is_constant(node: torch.fx.Node, known: dict[torch.fx.Node, Any]) -> bool:
    if not (is_pure(node) and all(source in known for source in node.all_input_nodes)):
        return False
    value = node.meta.get("val")
    tensors = value if isinstance(value, list | tuple) else [value]
    room = GROWTH + sum(_bytes(known[source]) for source in node.all_input_nodes)
    return all(
        isinstance(t, torch.Tensor)
        and all(isinstance(size, int) for size in t.shape)
        and t.numel() * t.element_size() <= room
        for t in tensors
    )


def _call(node: torch.fx.Node, known: dict[torch.fx.Node, Any]) -> Any:
    def value(item: Any) -> Any:
        return known[item]

    args = torch.fx.map_arg(node.args, value)
    kwargs = torch.fx.map_arg(node.kwargs, value)
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _freed(node: torch.fx.Node, weights: dict[torch.fx.Node, torch.Tensor]) -> int:
    """Bytes of the weights that nothing else would need if `node` were a constant."""
    cone: set[torch.fx.Node] = {node}
    queue = list(node.all_input_nodes)
    freed = 0
    while queue:
        source = queue.pop()
        if source not in cone and all(user in cone for user in source.users):
            cone.add(source)
            freed += _bytes(weights[source]) if source in weights else 0
            queue.extend(source.all_input_nodes)
    return freed


def _bytes(value: Any) -> int:
    if isinstance(value, list | tuple):
        return sum(_bytes(item) for item in value)
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def add_constant(
    exported: ExportedProgram, name: str, tensor: torch.Tensor, like: torch.fx.Node
) -> torch.fx.Node:
    """Add a weight to the program as a constant, with the origin of `like`. Returns its node."""
    graph, specs = exported.graph, exported.graph_signature.input_specs
    target = f"folded_{name}"
    while target in exported.constants or target in exported.state_dict:
        target += "_"
    kinds = [spec.kind for spec in specs] + [InputKind.USER_INPUT]  # if forward takes nothing
    first = kinds.index(InputKind.USER_INPUT)
    holders = [n for n in graph.nodes if n.op == "placeholder"]
    with graph.inserting_before([*graph.nodes][first]):
        node: torch.fx.Node = graph.placeholder(target)
    mode = next(n.meta["val"].fake_mode for n in holders if hasattr(n.meta["val"], "fake_mode"))
    node.meta = {k: v for k, v in like.meta.items() if k in ("stack_trace", "nn_module_stack")}
    node.meta["val"] = mode.from_tensor(tensor, static_shapes=True)
    specs.insert(first, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), target))
    exported.constants[target] = tensor
    return node


def constants_folded(exported: ExportedProgram, _: LowerOptions) -> str | None:
    """No pure call on weights alone with a result of up to 1 MiB that other calls read."""
    # The pass also folds larger results, where they make weights unnecessary.
    known: dict[torch.fx.Node, Any] = dict(weight_nodes(exported))
    for node in calls(exported):
        if _is_constant(node, known):
            known[node] = node.meta["val"]
    for node in calls(exported):
        is_read = any(user not in known for user in node.users)
        if isinstance(known.get(node), torch.Tensor) and is_read and _bytes(known[node]) <= GROWTH:
            return f"node {node.name} ({node.target}) depends on weights alone"
    return None


FOLD_CONSTANTS = Pass(
    name="fold_constants",
    requires=(functional,),
    ensures=(constants_folded,),
    run=_fold,
)
