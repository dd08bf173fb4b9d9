"""Branches and loops of a torch graph: what they compute, and what a graph by a stranger may not do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.graph import Argument, Body, Graph, Node, Ref, Value
from enginebundle.format.node import MAX_DEPTH
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes import control
from enginebundle.runtimes.torch_graph import TorchGraph, run_graph

X = Value("x", "float32", ("n",))
COUNT = Value("count", "symint")


ROW = Value("x", "float32")
SCALARS = {"aten.sum.default": "float32", "aten.scalar_tensor.default": "float32", "aten.gt.Scalar": "bool",
           "sym.lt": "symbool"}  # fmt: skip


def call(op: str, *args: Argument, to: str = "y", shape: tuple[str, ...] = ("n",)) -> Node:
    value = Value(to, SCALARS[op]) if op in SCALARS else Value(to, "float32", shape)
    return Node(op, args, (), (value,))


def body(
    *nodes: Node, inputs: tuple[Value, ...] = (X,), returns: tuple[Argument, ...] | None = None
) -> Body:
    return Body(inputs, nodes, (Ref(nodes[-1].name),) if returns is None else returns)


def graph(*nodes: Node) -> Graph:
    """Takes x; returns what the last node makes first."""
    inputs = (TensorSpec("x", "float32", ("n",)),)
    return Graph(inputs, (), nodes, (TensorSpec("out", "float32", ("n",)),), (nodes[-1].name,))


def flow(op: str, *args: Argument, outputs: int = 1, first: Value = X) -> Node:
    """`first`: what the first output is like; the others are like x."""
    values = (
        replace(first, name="made.0"),
        *(replace(X, name=f"made.{n}") for n in range(1, outputs)),
    )
    return Node(f"higher_order.{op}", args, (), values)


TWICE = body(call("aten.mul.Tensor", Ref("x"), 2.0))
LESS = body(call("aten.sub.Tensor", Ref("x"), 1.0))
POSITIVE = (call("aten.sum.default", Ref("x"), to="s"), call("aten.gt.Scalar", Ref("s"), 0, to="p"))


def branch(yes: Body, no: Body) -> Graph:
    return graph(*POSITIVE, flow("cond", Ref("p"), yes, no, (Ref("x"),)))


def run(one: Graph, x: torch.Tensor) -> torch.Tensor:
    return run_graph(one, {}, {"x": x})["out"]


def test_a_branch_runs_one_of_its_bodies() -> None:
    x = torch.tensor([1.0, 2.0])
    assert run(branch(TWICE, LESS), x).tolist() == [2.0, 4.0]
    assert run(branch(TWICE, LESS), -x).tolist() == [-2.0, -3.0]


def test_a_branch_that_returns_its_input_gives_a_copy() -> None:
    same = body(returns=(Ref("x"),))
    x = torch.tensor([1.0, 2.0])
    got = run(branch(same, LESS), x)
    got.zero_()
    assert x.tolist() == [1.0, 2.0]


def loop(limit: int | float, x: Value = X) -> Graph:
    """Doubles x `limit` times, with a number as counter."""
    go = body(call("sym.lt", Ref("count"), limit, to="p"), inputs=(COUNT, x))
    step = body(
        Node("sym.add", (Ref("count"), 1), (), (Value("next", "symint"),)),
        call("aten.mul.Tensor", Ref("x"), 2.0, shape=x.shape),
        inputs=(COUNT, x), returns=(Ref("next"), Ref("y")),
    )  # fmt: skip
    outputs = (replace(COUNT, name="made.0"), replace(x, name="made.1"))
    made = Node("higher_order.while_loop", (go, step, (0, Ref("x")), ()), (), outputs)
    return graph(made, call("aten.add.Tensor", Ref("made.1"), 0.0, to="end", shape=x.shape))


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_a_loop_goes_on_while_its_condition_holds(turns: int) -> None:
    assert run(loop(turns), torch.ones(2)).tolist() == [2.0**turns] * 2


def test_a_loop_without_an_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_TURNS", 1000)
    assert run(loop(1000), torch.zeros(1)).tolist() == [0.0]
    with pytest.raises(RuntimeFailure, match=r"took more than 1,000 turns"):
        run(loop(1001), torch.zeros(1))


def test_turns_are_counted_over_all_loops_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop in a loop can't multiply the limit, and the next call begins at nothing."""
    inner = loop(10, ROW)
    step = body(*inner.nodes, inputs=(ROW,), returns=(Ref("end"),))
    carried = Value("c", "symfloat")
    rows = flow("scan", body(*inner.nodes, inputs=(carried, ROW), returns=(Ref("c"), Ref("end"))),
                (1.0,), (Ref("x"),), (), outputs=2, first=carried)  # fmt: skip
    assert step.depth == 2
    outer = graph(rows, call("aten.add.Tensor", Ref("made.1"), 0.0, to="sum"))
    monkeypatch.setattr(control, "MAX_TURNS", 33)
    runner = TorchGraph(outer, {})
    for _ in range(2):
        assert runner({"x": torch.ones(3)})["out"].tolist() == [1024.0] * 3
    with pytest.raises(RuntimeFailure, match="took more than 33 turns"):
        runner({"x": torch.ones(4)})


def test_a_scan_stacks_what_its_steps_give() -> None:
    step = body(
        call("aten.add.Tensor", Ref("c"), Ref("x"), to="sum", shape=()),
        call("aten.mul.Tensor", Ref("sum"), Ref("k"), shape=()),
        inputs=(Value("c", "float32"), ROW, Value("k", "float32")), returns=(Ref("sum"), Ref("y")),
    )  # fmt: skip
    made = flow("scan", step, (Ref("zero"),), (Ref("x"),), (Ref("ten"),), outputs=2, first=ROW)
    start = call("aten.scalar_tensor.default", 0.0, to="zero")
    ten = call("aten.scalar_tensor.default", 10.0, to="ten")
    end = call("aten.add.Tensor", Ref("made.1"), Ref("made.0"), to="end")
    got = run(graph(start, ten, made, end), torch.tensor([1.0, 2.0, 3.0]))
    assert got.tolist() == [16.0, 36.0, 66.0]
    with pytest.raises(RuntimeFailure, match="length, of at least 1"):
        run(graph(start, ten, made, end), torch.ones(0))


def test_an_associative_scan_combines_each_row_with_all_before() -> None:
    combine = body(
        call("aten.mul.Tensor", Ref("a"), Ref("b"), shape=()),
        inputs=(Value("a", "float32"), Value("b", "float32")),
    )
    made = flow("associative_scan", combine, (Ref("x"),), ())
    assert run(graph(made), torch.tensor([2.0, 3.0, 4.0])).tolist() == [2.0, 6.0, 24.0]


EVIL = call("aten.from_file.default", Ref("x"))


def deep(levels: int) -> Body:
    made = TWICE
    for _ in range(levels - 1):
        made = body(*POSITIVE, flow("cond", Ref("p"), made, LESS, (Ref("x"),)))
    return made


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: branch(TWICE, body(EVIL)), "not one that a bundle may call"),
        (lambda: branch(body(*POSITIVE, flow("cond", Ref("p"), body(EVIL), LESS, (Ref("x"),))), LESS),
         "not one that a bundle may call"),
        (lambda: graph(flow("map", TWICE, (Ref("x"),), ())), "takes no body"),
        (lambda: graph(Node("higher_order.call", (Ref("x"),), (), (Value("y", "float32"),))),
         "not one that a bundle may call"),
        (lambda: graph(call("aten.relu.default", TWICE)), "takes no body"),
        (lambda: graph(*POSITIVE, flow("cond", Ref("p"), TWICE, LESS)), "other arguments"),
        (lambda: graph(*POSITIVE, flow("cond", Ref("p"), TWICE, LESS, (Ref("x"), (TWICE,)))), "other arguments"),
        (lambda: graph(*POSITIVE, flow("cond", Ref("p"), TWICE, LESS, ())), "takes 0 values and returns 1"),
        (lambda: graph(*POSITIVE, flow("cond", Ref("p"), TWICE, LESS, (Ref("x"),), outputs=2)), "returns 2"),
        (lambda: graph(flow("while_loop", TWICE, TWICE, (Ref("x"),), (), outputs=2)), "returns 2"),
        (lambda: graph(flow("while_loop", TWICE, replace(TWICE, returns=(Ref("y"), Ref("y"))), (Ref("x"),), (),
                            outputs=2)), "the 1 values that it carries"),
        (lambda: graph(flow("associative_scan", TWICE, (Ref("x"),), ())), "takes 2 values"),
        (lambda: branch(TWICE, replace(LESS, returns=(Ref("s"),))), "values that do not exist"),
        (lambda: branch(TWICE, body(call("aten.relu.default", Ref("s")))), "before it exists"),
        (lambda: branch(TWICE, body(call("aten.relu.default", Ref("x"), to="x"))), "two values are named"),
        (lambda: branch(deep(MAX_DEPTH + 1), LESS), "deep inside each other"),
    ],
)  # fmt: skip
def test_what_no_exported_program_has_is_refused_before_a_call(make, words) -> None:
    with pytest.raises(FormatError, match=words):
        TorchGraph(make(), {})


def test_bodies_may_stand_as_deep_as_the_format_says() -> None:
    one = branch(deep(MAX_DEPTH), LESS)
    assert Graph.from_json(one.to_json()) == one
    assert run(one, torch.ones(2)).tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "argument",
    [{"body": "x"}, {"body": {}}, {"body": []}, {"body": {"inputs": [], "nodes": [], "returns": {}}},
     {"body": {"inputs": [], "nodes": [], "returns": [], "more": 1}}],
)  # fmt: skip
def test_a_body_that_is_none_is_refused(argument: object) -> None:
    value = branch(TWICE, LESS).to_json()
    value["nodes"][-1]["args"][1] = argument
    with pytest.raises(FormatError):
        Graph.from_json(value)


def test_what_fails_inside_a_body_is_named() -> None:
    bad = body(call("aten.mm.default", Ref("x"), Ref("x"), to="product"))
    with pytest.raises(RuntimeFailure, match=r"aten\.mm\.default \(product\) failed"):
        run(branch(bad, LESS), torch.ones(2))
