"""A wrong program, cut down: what is left when nothing more can go and it is still wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.fx import Graph, GraphModule, Node

from tests.fuzz.programs import Program


def shrink(program: Program, wrong: Callable[[Program], bool]) -> Program:
    """The smallest program found by dropping results, passing an operator's operand on in its place,
    and reading an input where a value was computed. `wrong` says whether one is still wrong."""
    while True:
        for smaller in _smaller(program):
            if wrong(smaller):
                program = smaller
                break
        else:
            return program


def _smaller(program: Program) -> Iterator[Program]:
    """Each program that is one cut away, the largest cuts first. Never one with dynamic sizes less:
    a new input is static, unless the value it stands for has the dynamic size first."""
    results = program.module.graph.output_node().args[0]
    assert isinstance(results, tuple)
    if len(results) > 1:
        for index in range(len(results)):
            yield _made(program, drop=index)
    computed = [n for n in program.module.graph.nodes if n.op == "call_function"]
    shapes = _shapes(program)
    for node in reversed(computed):
        alike = [a for a in node.all_input_nodes if shapes[a.name] == shapes[node.name]]
        for operand in alike:
            yield _made(program, replace=(node.name, operand.name))
    for node in reversed(computed):
        if any(a.op == "call_function" for a in node.all_input_nodes) or node.users:
            fits = not program.dynamic or shapes[node.name][:1] == shapes["x0"][:1]
            if fits and any(user.op != "output" for user in node.users):
                yield _made(program, read=node.name)


def _shapes(program: Program) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}

    class Shapes(torch.fx.Interpreter):
        def run_node(self, n: Node) -> object:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                found[n.name] = tuple(value.shape)
            return value

    Shapes(program.module).run(*program.inputs())
    return found


def _made(
    program: Program,
    drop: int | None = None,
    replace: tuple[str, str] = ("", ""),
    read: str = "",
) -> Program:
    """The program with one change; inputs and operators that nothing reads any more are gone."""
    graph, old = Graph(), program.module.graph
    kept: dict[Node, Node] = {}
    shapes = dict(
        zip([n.name for n in old.nodes if n.op == "placeholder"], program.shapes, strict=True)
    )
    if read:
        shapes["new"] = _shapes(program)[read]
        new = graph.placeholder("new")
    by_name = {n.name: n for n in old.nodes}
    for node in old.nodes:
        if node.op == "output":
            results = list(node.args[0])
            if drop is not None:
                del results[drop]
            graph.output(tuple(kept[n] for n in results))
        elif node.name == read:
            kept[node] = new
        elif node.name == replace[0]:
            kept[node] = kept[by_name[replace[1]]]
        else:
            kept[node] = graph.node_copy(node, lambda n: kept[n])
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if (
            node.op == "placeholder"
            and not node.users
            and len(graph.find_nodes(op="placeholder")) > 1
        ):
            graph.erase_node(node)
    left = tuple(shapes[n.name] for n in graph.find_nodes(op="placeholder"))
    return Program(program.seed, GraphModule({}, graph), left, program.dynamic)
