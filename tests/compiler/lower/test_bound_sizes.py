"""Results whose size data decide: an engine gives the largest, torch cuts, and the numbers are eager's."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from compiler.convert.library import REGISTRY
from compiler.lower import bound_sizes, lower
from compiler.lower.capture import capture
from compiler.partition.cuts import cuts
from compiler.pipeline import BuiltProgram
from compiler.trace.export import trace
from enginebundle.format.graph import Graph, Node, Ref, Value
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.runtimes.torch_graph import run_graph
from tests.compiler.test_dynamic_sizes import Function, compiled

CUT = {"aten._local_scalar_dense.default", "aten.slice.Tensor"}


def tail(built: BuiltProgram) -> set[str]:
    """What runs in torch, after one engine."""
    assert built.parts is not None
    assert {kept.reason.code for kept in built.parts.report.kept} == {"cut"}
    kinds = [segment.kind for segment in built.segments]
    assert kinds == ["engine", "torch_graph"]
    return {node.op for node in built.segments[1].graph.nodes}


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: torch.nonzero(x > 0), ("n", 3)),
        (lambda x: torch.nonzero(x > 0, as_tuple=True), ("n", 3, 2)),
        (lambda x: torch.where(x[:, 0] > 0), ("n", 3)),
        (lambda x: x[x > 0], ("n", 3)),
        (lambda x: x[x.sum(2) > 0], ("n", 3, 2)),
        (lambda x: (x[x[:, 0] > 0], x.sum(0)), ("n", 3)),
        (lambda x: torch.masked_select(x, x[:, :1] > 0), ("n", 3)),
        (lambda x: torch.unique_consecutive(x > 0, return_inverse=True, return_counts=True), ("n", 3)),
        (lambda x: torch.unique_consecutive((x > 0).int(), dim=1, return_counts=True), ("n", 3)),
    ],
)  # fmt: skip
def test_dynamic(function: Callable[..., torch.Tensor], shape: tuple[int | str, ...]) -> None:
    """build_program compares with eager at min, opt and max, where the sizes of results differ."""
    assert tail(compiled(function, shape)) == CUT


def both(
    function: Callable[..., object], x: torch.Tensor
) -> tuple[Graph, tuple[torch.Tensor, ...]]:
    """The lowered graph, and its results in torch, which are eager's."""
    spec = (TensorSpec("x0", str(x.dtype).removeprefix("torch."), tuple(x.shape)),)
    exported = trace(Function(function), spec, (Profile("p", ()),), lambda _: {"x0": x})  # type: ignore[arg-type]
    program = capture(lower(exported, REGISTRY.ops()), spec)
    found = run_graph(program.graph, program.weights, {"x0": x})
    return program.graph, tuple(found[output.name] for output in program.graph.outputs)


UNIQUE = {
    "rows": torch.tensor([[2, 1, 1], [0, 5, 1], [2, 1, 1], [0, 5, 0], [2, 1, 1]]),
    "one": torch.tensor([[3, 3, 3]]),
    "all the same": torch.full((4, 2), 7),
    "floats with NaN": torch.tensor([[1.5, torch.nan, 1.5], [torch.nan, -0.0, 0.0]]),
    "negative": torch.tensor([[-1, -2], [-1, -3], [4, -2]]),
}


CASES = [
    (function, name, dim)
    for function in (torch.unique, torch.unique_consecutive)
    for name in UNIQUE
    for dim in (None, 0, 1, -1)
    if not ("NaN" in name and function is torch.unique and dim is not None)  # no order of such rows
]


@pytest.mark.parametrize(
    ("function", "name", "dim", "inverse", "counts"),
    [
        (*case, inverse, counts)
        for case in CASES
        for inverse, counts in itertools.product((False, True), repeat=2)
        if inverse == counts or case[1] == "rows"  # `make opinfo` has one without the other on more
    ],
)
def test_unique(
    function: Callable[..., object], name: str, dim: int | None, inverse: bool, counts: bool
) -> None:
    x = UNIQUE[name]

    def call(x: torch.Tensor) -> object:
        return function(x, return_inverse=inverse, return_counts=counts, dim=dim)

    graph, got = both(call, x)
    want = call(x)
    assert not {node.op for node in graph.nodes} & {str(op) for op in bound_sizes.RULES}
    for a, b in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_a_number_that_is_read_for_more_is_no_cut() -> None:
    """Only the last step of a result is one: not a slice that the model works on with, nor a start."""

    def call(op: str, name: str, dtype: str, *args: int | Ref) -> Node:
        return Node(op, args, (), (Value(name, dtype),))

    read = call("aten._local_scalar_dense.default", "k", "symint", Ref("count"))
    first = call("aten.slice.Tensor", "first", "float32", Ref("x"), 0, 0, Ref("k"))
    rest = call("aten.slice.Tensor", "rest", "float32", Ref("x"), 0, Ref("k"), 9)

    negative = call("aten.neg.default", "negative", "float32", Ref("first"))
    inputs = (TensorSpec("x", "float32", (9,)), TensorSpec("count", "int64", ()))

    def found(nodes: tuple[Node, ...], *returns: str) -> set[str]:
        outputs = tuple(TensorSpec(f"y_{name}", "float32", ()) for name in returns)
        return set(cuts(Graph(inputs, (), nodes, outputs, returns)))

    assert found((read, first), "first") == {"k", "first"}
    assert found((read, first, negative), "negative") == set()
    assert found((read, first, rest), "first", "rest") == set()


def test_an_empty_choice_and_a_full_one() -> None:
    for value in (0.0, 1.0):
        x = torch.full((3, 4), value)
        _, (rows, chosen) = both(lambda x: (torch.nonzero(x), x[x > 0.5]), x)
        assert torch.equal(rows, torch.nonzero(x))
        assert torch.equal(chosen, x[x > 0.5])


def test_what_the_model_works_on_with_stays_as_it_is() -> None:
    """Its consumers run in torch anyway, which finds the elements faster so."""
    graph, (got,) = both(lambda x: x[x > 0].sum(), torch.arange(-3.0, 3.0))
    assert "aten.index.Tensor" in {node.op for node in graph.nodes}
    assert float(got) == 3


@pytest.mark.parametrize(
    ("dim", "shape", "op"),
    [(0, (1000, 2), "aten.unique_dim.default"), (None, (2000, 2), "aten._unique2.default")],
)
def test_too_many_to_sort_stay_as_they_are(
    dim: int | None, shape: tuple[int, ...], op: str
) -> None:
    x = torch.arange(4000)[: shape[0] * shape[1]].reshape(shape) % 7
    graph, (got,) = both(lambda x: torch.unique(x, dim=dim), x)
    assert op in {node.op for node in graph.nodes}
    assert torch.equal(got, torch.unique(x, dim=dim))
