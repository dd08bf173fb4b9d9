"""Tensors that a model writes inside a branch or a loop's step, such as `torch.tensor([1.0, 2.0])`.

torch.export leaves them as attributes of the body's graph, and then can't decompose it. Here each becomes
a constant of the program, and an operand of the call that has the body.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from compiler.lower.constants import add_constant
from compiler.lower.graphs import bodies, copied

Supply = Callable[[torch.Tensor], torch.fx.Node]
"""Brings a constant into a graph, as a node there."""


def hoisted(exported: ExportedProgram) -> ExportedProgram:
    """A copy whose bodies read only what they are given; the program itself if that is so already."""
    if not any(_constants(body) for body in bodies(exported.graph_module)):
        return exported
    program = copied(exported)
    root = program.graph_module
    for name, body in list(root.named_children()):
        setattr(root, name, copy.deepcopy(body))
    for node in _flow(program.graph):

        def supply(tensor: torch.Tensor, at: torch.fx.Node = node) -> torch.fx.Node:
            return add_constant(program, at.name, tensor, at)

        _lift(root, node, supply)
    root.recompile()
    return program


def _flow(graph: torch.fx.Graph) -> list[torch.fx.Node]:
    return [n for n in graph.nodes if isinstance(n.target, torch._ops.HigherOrderOperator)]


def _constants(body: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [
        node for node in body.graph.nodes
        if node.op == "get_attr" and isinstance(getattr(body, node.target, None), torch.Tensor)
    ]  # fmt: skip


def _lift(owner: Any, node: torch.fx.Node, supply: Supply) -> None:
    """Give the bodies of a call their constants as operands, each body all of them."""
    graphs = [getattr(owner, str(n.target)) for n in node.all_input_nodes if n.op == "get_attr"]
    graphs = [graph for graph in graphs if isinstance(graph, torch.fx.GraphModule)]
    wanted: list[torch.Tensor] = []
    taken: dict[int, int] = {}
    """How many of the constants each body has a placeholder for."""

    def catch_up(place: int) -> None:
        for tensor in wanted[taken.get(place, 0) :]:
            _placeholder(graphs[place], tensor)
        taken[place] = len(wanted)

    for place, body in enumerate(graphs):
        catch_up(place)

        def mine(tensor: torch.Tensor, place: int = place) -> torch.fx.Node:
            wanted.append(tensor)
            taken[place] = len(wanted)
            return _placeholder(graphs[place], tensor)

        for inner in _flow(body.graph):
            _lift(body, inner, mine)
        for constant in _constants(body):
            constant.replace_all_uses_with(mine(getattr(body, str(constant.target))))
            body.graph.erase_node(constant)
        # Torch's checks take a tensor that a body owns for a buffer of the model.
        for name, _ in [*body.named_buffers(recurse=False)]:
            delattr(body, name)
    for place, body in enumerate(graphs):
        catch_up(place)
        body.recompile()
    operands: Any = node.args[-1]
    node.args = (*node.args[:-1], (*operands, *map(supply, wanted)))


def _placeholder(body: torch.fx.GraphModule, tensor: torch.Tensor) -> torch.fx.Node:
    """A new input of a body, after the others."""
    holders = [node for node in body.graph.nodes if node.op == "placeholder"]
    modes = (getattr(n.meta.get("val"), "fake_mode", None) for n in body.graph.nodes)
    mode: Any = next(mode for mode in modes if mode is not None)
    with body.graph.inserting_after(holders[-1]):
        made: torch.fx.Node = body.graph.placeholder(f"constant_{len(holders)}")
    made.meta["val"] = mode.from_tensor(tensor, static_shapes=True)
    return made
