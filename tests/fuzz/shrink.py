"""Cuts a wrong program down until nothing more can be removed and it is still wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.fx import Graph, GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp

from tests.fuzz.programs import RandomProgram


def shrink(program: RandomProgram, wrong: Callable[[RandomProgram], bool]) -> RandomProgram:
    """The smallest program found by dropping results, replacing an operator by its operand, and
    replacing a computed value by an input. `wrong` tells whether a program is still wrong.
    """
    while True:
        smaller = next((one for one in _smaller(program) if wrong(one)), None)
        if smaller is None:
            return program
        program = smaller


def _smaller(program: RandomProgram) -> Iterator[RandomProgram]:
    """Each program that is one cut smaller, the largest cuts first."""
    graph = program.module.graph
    results = _results(graph)
    if len(results) > 1:
        for index in range(len(results)):
            yield _made(program, [*results[:index], *results[index + 1 :]])
    ShapeProp(program.module).propagate(*program.inputs())
    computed = [node for node in reversed(graph.nodes) if node.op == "call_function"]
    for node in computed:
        for operand in node.all_input_nodes:
            if _shape(operand) == _shape(node):
                yield _made(program, results, {node: operand})
    for node in computed:
        # If the first size is dynamic, every input has it, so only a value that has it can become one.
        fits = not program.dynamic or _shape(node)[:1] == program.shapes[0][:1]
        if fits and any(user.op == "call_function" for user in node.users):
            yield _made(program, results, {node: None})


def _made(
    program: RandomProgram, results: list[Node], instead: dict[Node, Node | None] | None = None
) -> RandomProgram:
    """The program with these results, and for one value another, or None for a new input. Inputs and
    operators that nothing reads any more are gone."""
    instead = instead or {}
    graph = Graph()
    old = program.module.graph.find_nodes(op="placeholder")
    new: dict[Node, Node] = {}
    shapes: dict[Node, tuple[int, ...]] = {}
    for node, shape in zip(old, program.shapes, strict=True):
        new[node] = graph.placeholder(node.name)
        shapes[new[node]] = shape
    for node in [node for node, other in instead.items() if other is None]:
        new[node] = graph.placeholder(f"{node.name}_read")
        shapes[new[node]] = _shape(node)
    for node in program.module.graph.nodes:
        other = instead.get(node)
        if other is not None:
            new[node] = new[other]
        elif node.op == "call_function" and node not in new:
            new[node] = graph.node_copy(node, lambda n: new[n])
    graph.output(tuple(new[node] for node in results))
    graph.eliminate_dead_code()
    read = [node for node in shapes if node.users] or list(shapes)[:1]
    for node in shapes:
        if node not in read:
            graph.erase_node(node)
    left = tuple(shapes[node] for node in read)
    return RandomProgram(program.seed, GraphModule({}, graph), left, program.dynamic)


def _results(graph: Graph) -> list[Node]:
    results = graph.output_node().args[0]
    assert isinstance(results, tuple)
    return [node for node in results if isinstance(node, Node)]


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)
