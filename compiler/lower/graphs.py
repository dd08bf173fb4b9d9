"""Queries on an exported program's graph, and edits that keep its signature in step."""

from __future__ import annotations

import copy
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

from enginebundle.format.digest import Digest, digest_json


def calls(exported: ExportedProgram) -> list[torch.fx.Node]:
    """The graph's calls, in order."""
    return [node for node in exported.graph.nodes if node.op == "call_function"]


def bodies(module: torch.nn.Module) -> list[torch.fx.GraphModule]:
    """The graphs of the branches and steps of a graph's control flow, those inside others included."""
    graphs = [one for one in module.children() if isinstance(one, torch.fx.GraphModule)]
    return [one for graph in graphs for one in (graph, *bodies(graph))]


def is_pure(node: torch.fx.Node) -> bool:
    """Whether equal arguments always give an equal result, without side effects."""
    if isinstance(node.target, torch._ops.OpOverload):
        random = torch.Tag.nondeterministic_seeded in node.target.tags
        return not (random or node.target._schema.is_mutable)
    return not isinstance(node.target, torch._ops.HigherOrderOperator)


def weight_nodes(exported: ExportedProgram) -> dict[torch.fx.Node, torch.Tensor]:
    """The placeholders of parameters, buffers and constants, with their tensors.

    Those that forward writes into are left out: they are not constant.
    """
    nodes = {n.name: n for n in exported.graph.nodes if n.op == "placeholder"}
    signature = exported.graph_signature
    written = (*signature.buffers_to_mutate.values(), *signature.parameters_to_mutate.values())
    result = {}
    for spec in signature.input_specs:
        if spec.kind == InputKind.USER_INPUT or spec.target in (None, *written):
            continue
        state, constants = exported.state_dict, exported.constants
        target = spec.target or ""
        value = state[target] if target in state else constants.get(target)
        if isinstance(value, torch.Tensor):
            result[nodes[spec.arg.name]] = value.detach()
    return result


def clean_up(exported: ExportedProgram) -> None:
    """Remove dead calls, and update the output signature to match the output node."""
    graph = exported.graph
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and is_pure(node):
            graph.erase_node(node)
    (output,) = [n for n in graph.nodes if n.op == "output"]
    for spec, leaf in zip(exported.graph_signature.output_specs, output.args[0], strict=True):
        spec.arg = _argument(leaf)
    graph.lint()


def copied(exported: ExportedProgram) -> ExportedProgram:
    """A program whose graph and signature may be edited; the tensors are shared with the given one."""
    graph = torch.fx.Graph()
    returned: Any = graph.graph_copy(exported.graph, {}, return_output_node=True)
    graph.output(returned[0]).meta = dict(returned[1].meta)
    for node, given in zip(graph.nodes, exported.graph.nodes, strict=True):
        # Copying renames nodes that are named like builtins, but the signature keeps their names.
        node.name = given.name
    return ExportedProgram(
        root=exported.graph_module,
        graph=graph,
        graph_signature=copy.deepcopy(exported.graph_signature),
        state_dict=dict(exported.state_dict),
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph,
        example_inputs=exported.example_inputs,
        constants=dict(exported.constants),
        verifiers=exported.verifiers,
    )


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
