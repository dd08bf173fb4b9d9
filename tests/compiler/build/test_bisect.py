"""The first value where two runs of a graph part names the node and says how its inputs agreed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from compiler.build.bisect import WINDOW, first_divergence
from compiler.goldens.tolerance import tolerance
from enginebundle.format.graph import Graph, Node, Origin, Ref, Value
from enginebundle.format.spec import Target, TensorSpec

SPEC = TensorSpec("x", "float32", (4,))
X = torch.tensor([0.5, -1.0, 2.0, 3.0])


def bound(want: torch.Tensor):
    return tolerance(Target.parse("torch:cpu"), "fp32", want)


def a_chain(length: int) -> Graph:
    """y1 = cos(x), y2 = cos(y1), ..."""
    nodes = tuple(
        Node(
            "aten.cos.default",
            (Ref("x" if i == 1 else f"y{i - 1}"),),
            (),
            (Value(f"y{i}", "float32", (4,)),),
            Origin("net.py", i, "y = y.cos()", "body", "Body"),
        )
        for i in range(1, length + 1)
    )
    return Graph((SPEC,), (), nodes, (SPEC,), (f"y{length}",))


def runner(
    graph: Graph, wrong: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] | None = None,
    hidden: Sequence[str] = (),
) -> Callable[[Sequence[str]], dict[str, torch.Tensor]]:  # fmt: skip
    """Runs the whole chain; some nodes compute something else, some values are not kept."""
    functions = wrong or {}

    def run(names: Sequence[str]) -> dict[str, torch.Tensor]:
        values = {"x": X}
        for node in graph.nodes:
            values[node.name] = functions.get(node.name, torch.cos)(values[node.inputs()[0]])
        return {name: values[name] for name in names if name not in hidden}

    return run


def test_runs_that_agree():
    graph = a_chain(5)
    assert first_divergence(graph, runner(graph), runner(graph), bound) is None


@pytest.mark.parametrize("place", [1, 3, WINDOW, WINDOW + 5])
def test_the_first_wrong_node_is_named(place):
    graph = a_chain(WINDOW + 10)
    wrong = runner(graph, {f"y{place}": torch.sin})
    found = first_divergence(graph, runner(graph), wrong, bound)
    assert found is not None
    assert (found.node.name, found.value) == (f"y{place}", f"y{place}")
    source = "x" if place == 1 else f"y{place - 1}"
    assert found.inputs == ((source, 0.0),)
    text = str(found)
    assert text.startswith(f"y{place} = aten.cos.default is the first value outside tolerance: ")
    assert text.endswith(f"its inputs: {source} 0; from net.py:{place} (module body: Body)")


def test_an_error_that_fades_is_found_where_it_was():
    graph = a_chain(60)
    wrong = runner(graph, {"y2": lambda x: torch.cos(x) + 1e-3})
    assert torch.allclose(runner(graph)(["y60"])["y60"], wrong(["y60"])["y60"], atol=1e-6)
    found = first_divergence(graph, runner(graph), wrong, bound)
    assert found is not None
    assert found.value == "y2"


def test_values_that_a_run_does_not_have_are_passed_over():
    graph = a_chain(4)
    wrong = runner(graph, {"y2": torch.sin}, hidden=("y2",))
    found = first_divergence(graph, runner(graph), wrong, bound)
    assert found is not None
    assert found.value == "y3"
    assert found.inputs == ()
    assert "its inputs: none compared" in str(found)
