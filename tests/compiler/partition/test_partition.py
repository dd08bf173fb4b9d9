"""Segments are acyclic, maximal, complete, and compute what the whole graph computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.convert.registry import Refusal
from compiler.partition import (
    Partition,
    PartitionOptions,
    PartitionRefused,
    SegmentGraph,
    partition,
)
from enginebundle.format.digest import digest_json
from enginebundle.format.dims import Dim, evaluate
from enginebundle.format.graph import Argument, Graph, Node, Origin, Ref, Value, Weight
from enginebundle.format.spec import TensorSpec

SYMBOLS = {"a": 3, "b": 5, "u0": 7}
NO = Refusal("no_converter", "no converter", "rewrite it")


# -- a graph's meaning, in integers ------------------------------------------------------------


def run(graph: Graph, given: dict[str, int]) -> dict[str, int]:
    """Values of a graph's outputs where every operator is a hash of what it reads."""
    shapes: dict[str, tuple[Dim, ...]] = {t.name: t.shape for t in graph.inputs}
    values = {t.name: given[t.name] for t in graph.inputs}
    for weight in graph.weights:
        shapes[weight.name] = weight.spec.shape
        values[weight.name] = _hash(weight.digest)
    for node in graph.nodes:
        args = [_resolve(a, values) for a in node.args]
        for position, value in enumerate(node.outputs):
            shapes[value.name] = value.shape
            if node.op == "aten.sym_size.int":
                values[value.name] = evaluate(shapes[node.args[0].name][args[1]], SYMBOLS)
            elif node.op == "sym.add":
                values[value.name] = args[0] + args[1]
            else:
                values[value.name] = _hash([node.op, position, args])
    return {name: values[name] for name in graph.returns}


def run_segments(part: Partition, given: dict[str, int]) -> list[int]:
    """The same through segments: each sees only what it declares."""
    known = dict(given)
    for segment in part.segments:
        made = run(segment.graph, known)
        assert not made.keys() & known.keys()
        known |= made
    return [known[name] for name in part.returns]


def _resolve(argument: Argument, values: dict[str, int]) -> object:
    if isinstance(argument, tuple):
        return [_resolve(a, values) for a in argument]
    return values[argument.name] if isinstance(argument, Ref) else argument


def _hash(value: object) -> int:
    return int(digest_json(value).removeprefix("sha256:")[:12], 16)


# -- random graphs -----------------------------------------------------------------------------

DIMS: list[Dim] = [4, "a", "b", "a + 1", "u0"]
DATA_OPS = ("aten.f.default", "aten.g.Tensor", "aten.view.default", "aten.split.Tensor")


@st.composite
def graphs(draw: st.DrawFn, scalars: bool = True) -> Graph:
    shape = st.lists(st.sampled_from(DIMS if scalars else [4, "a"]), max_size=2).map(tuple)
    inputs = tuple(
        TensorSpec(f"x{i}", "float32", draw(st.sampled_from([("a",), ("a", "b"), ()])))
        for i in range(draw(st.integers(1, 3)))
    )
    weights = tuple(
        Weight(TensorSpec(f"w{i}", "float32", (4,)), digest_json(f"w{i}"))
        for i in range(draw(st.integers(0, 2)))
    )
    tensors = [*((t.name, t.shape) for t in inputs), *((w.name, w.spec.shape) for w in weights)]
    sizes: list[str] = []
    nodes: list[Node] = []
    for i in range(draw(st.integers(0, 24))):
        name = f"n{i}"
        op = draw(st.sampled_from((*DATA_OPS, "size", "add", "item") if scalars else DATA_OPS))
        shaped = [(n, s) for n, s in tensors if s]
        if op == "size" and shaped:
            source, dims = draw(st.sampled_from(shaped))
            args: tuple[Argument, ...] = (Ref(source), draw(st.integers(0, len(dims) - 1)))
            nodes.append(Node("aten.sym_size.int", args, (), (Value(name, "symint"),)))
            sizes.append(name)
        elif op == "add" and sizes:
            args = (Ref(draw(st.sampled_from(sizes))), Ref(draw(st.sampled_from(sizes))))
            nodes.append(Node("sym.add", args, (), (Value(name, "symint"),)))
            sizes.append(name)
        elif op == "item" and draw(st.integers(0, 3)) == 0:
            args = (Ref(draw(st.sampled_from(tensors))[0]),)
            nodes.append(
                Node("aten._local_scalar_dense.default", args, (), (Value(name, "symint"),))
            )
            sizes.append(name)
        else:
            op = op if op in DATA_OPS else "aten.f.default"
            some = draw(st.lists(st.sampled_from(tensors), max_size=3))
            args = tuple(Ref(n) for n, _ in some)
            if sizes:
                args += (tuple(map(Ref, draw(st.lists(st.sampled_from(sizes), max_size=2)))),)
            count = 2 if op == "aten.split.Tensor" else 1
            made = tuple(Value(f"{name}_{k}", "float32", draw(shape)) for k in range(count))
            nodes.append(Node(op, args, (), made))
            tensors += [(v.name, v.shape) for v in made]
    returned = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
    outputs = tuple(TensorSpec(f"y{i}", "float32", s) for i, (_, s) in enumerate(returned))
    return Graph(inputs, weights, tuple(nodes), outputs, tuple(n for n, _ in returned))


@st.composite
def supports(draw: st.DrawFn) -> Callable[[Node], Refusal | None]:
    """A refusal for some nodes; every third refuses size additions too."""
    chosen = draw(st.sets(st.integers(0, 24)))
    arithmetic = draw(st.integers(0, 2)) > 0

    def refuse(node: Node) -> Refusal | None:
        if node.op.startswith("sym."):
            return None if arithmetic else NO
        if node.op == "aten.sym_size.int":
            return None
        return NO if int(node.name[1:].split("_")[0]) in chosen else None

    return refuse


# -- properties --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(graphs(), supports(), st.integers(0, 3))
def test_segments_compute_what_the_graph_computes(graph, refuse, min_nodes):
    part = partition(graph, refuse, PartitionOptions(min_nodes=min_nodes))
    given = {t.name: 1000 + i for i, t in enumerate(graph.inputs)}
    whole = run(graph, given)
    assert run_segments(part, given) == [whole[name] for name in graph.returns]


@settings(max_examples=150, deadline=None)
@given(graphs(), supports())
def test_segments_are_valid_and_every_live_node_is_in_one(graph, refuse):
    part = partition(graph, refuse)
    scalars = {v.name for n in graph.nodes for v in n.outputs if not v.is_tensor}
    live = _live_tensor_nodes(graph)
    placed = [n.name for s in part.segments for n in s.graph.nodes if n.outputs[0].is_tensor]
    assert sorted(placed) == sorted(live)
    reasons = {k.node for k in part.report.kept}
    for segment in part.segments:
        names = {t.name for t in segment.graph.inputs} | set(segment.graph.returns)
        assert not names & scalars
        assert segment.graph.returns == tuple(t.name for t in segment.graph.outputs)
        read = {name for n in segment.graph.nodes for name in n.inputs()} | set(
            segment.graph.returns
        )
        assert {t.name for t in segment.graph.inputs} | {
            w.name for w in segment.graph.weights
        } <= read
        for node in segment.graph.nodes:
            if node.outputs[0].is_tensor:
                assert (node.name in reasons) == (segment.kind == "torch_graph")
            if segment.kind == "engine":
                assert refuse(node) is None
                assert node.op != "aten._local_scalar_dense.default"
        if segment.kind == "engine":
            assert segment.graph.inputs
            assert not any("u0" in map(str, t.shape) for t in segment.graph.inputs)


@settings(max_examples=200, deadline=None)
@given(graphs(scalars=False), supports())
def test_no_two_segments_of_a_kind_can_be_joined(graph, refuse):
    part = partition(graph, refuse, PartitionOptions(min_nodes=0))
    segments = [s for s in part.segments if s.graph.nodes]
    reach = _reach(segments)
    for i, j in itertools.combinations(range(len(segments)), 2):
        if segments[i].kind == segments[j].kind:
            between = (k for k in range(i + 1, j) if k in reach[i] and j in reach[k])
            assert next(between, None) is not None, (i, j)


@settings(max_examples=50, deadline=None)
@given(graphs(), supports())
def test_equal_graphs_have_equal_partitions(graph, refuse):
    assert partition(graph, refuse) == partition(Graph.from_json(graph.to_json()), refuse)


def _reach(segments: list[SegmentGraph]) -> list[set[int]]:
    maker = {name: i for i, s in enumerate(segments) for name in s.graph.returns}
    reach: list[set[int]] = [set() for _ in segments]
    for i in range(len(segments) - 1, -1, -1):
        for j in range(i + 1, len(segments)):
            if any(maker.get(t.name) == i for t in segments[j].graph.inputs):
                reach[i] |= {j} | reach[j]
    return reach


def _live_tensor_nodes(graph: Graph) -> list[str]:
    needed = set(graph.returns)
    found = []
    for node in reversed(graph.nodes):
        if needed & {v.name for v in node.outputs}:
            needed |= set(node.inputs())
            found += [node.name] if node.outputs[0].is_tensor else []
    return found


# -- cases -------------------------------------------------------------------------------------


def node(name: str, *reads: str | int, op: str = "aten.f.default", **where: str) -> Node:
    args = tuple(Ref(r) if isinstance(r, str) else r for r in reads)
    kind = "symint" if op.startswith(("sym.", "aten.sym", "aten._local")) else "float32"
    shape: tuple[Dim, ...] = () if kind == "symint" else ("a", 4)
    return Node(op, args, (), (Value(name, kind, shape),), Origin("m.py", 7, "y = f(x)", **where))


def graph(*nodes: Node, returns: str = "y", inputs: str = "x") -> Graph:
    specs = tuple(TensorSpec(n, "float32", ("a", 4)) for n in inputs.split())
    names = returns.split()
    outputs = tuple(TensorSpec(f"out{i}", "float32", ("a", 4)) for i, _ in enumerate(names))
    weight = Weight(TensorSpec("w", "float32", (4,)), digest_json("w"))
    return Graph(specs, (weight,), nodes, outputs, tuple(names))


def but(*names: str) -> Callable[[Node], Refusal | None]:
    """Refuse these nodes."""
    return lambda n: NO if n.name in names or n.op in names else None


def shape_of(part: Partition) -> list[tuple[str, str]]:
    return [
        (s.kind[0], " ".join(n.name for n in s.graph.nodes)) for s in part.segments
    ]  # "e" or "t", nodes


def test_parallel_branches_share_an_engine():
    g = graph(node("p", "x"), node("q", "x"), node("t", "x"), node("y", "p", "q", "t"))
    assert shape_of(partition(g, but("t"))) == [("t", "t"), ("e", "p q y")]


def test_an_operator_in_the_middle_makes_two_engines():
    g = graph(node("p", "x"), node("t", "p"), node("y", "t", "p"))
    part = partition(g, but("t"))
    assert shape_of(part) == [("e", "p"), ("t", "t"), ("e", "y")]
    assert part.segments[0].graph.returns == ("p",)
    assert [t.name for t in part.segments[2].graph.inputs] == ["p", "t"]


def test_a_torch_operator_beside_the_engine_does_not_split_it():
    g = graph(node("t", "x"), node("p", "x"), node("q", "p"), node("y", "q", "t"))
    assert shape_of(partition(g, but("t"))) == [("t", "t"), ("e", "p q y")]


def test_pieces_that_need_nothing_move_to_their_reader():
    """A mask made from the inputs alone is not carried through the segments before its use."""
    g = graph(node("m", "x"), node("p", "x"), node("t", "p"), node("y", "t", "m"))
    part = partition(g, but("t"))
    assert shape_of(part) == [("e", "p"), ("t", "t"), ("e", "m y")]


def test_torch_at_the_end_is_one_segment():
    g = graph(node("t", "x"), node("p", "x"), node("y", "p"), returns="t y")
    assert shape_of(partition(g, but("t", "y"))) == [("e", "p"), ("t", "t y")]


def test_sizes_are_computed_again_in_each_segment_that_reads_them():
    g = graph(
        node("n", "x", 0, op="aten.sym_size.int"),
        node("m", "n", 1, op="sym.add"),
        node("p", "x", "m"),
        node("t", "p"),
        node("y", "t", "m"),
    )
    part = partition(g, but("t"))
    assert shape_of(part) == [("e", "n m p"), ("t", "t"), ("e", "n m y")]
    last = part.segments[2].graph
    assert [t.name for t in last.inputs] == ["t"], "x is not read: t has the same size"
    assert last.nodes[0].args == (Ref("t"), 0)


def test_a_size_that_no_tensor_in_reach_has_is_read_from_its_tensor():
    g = Graph(
        (TensorSpec("x", "float32", ("a", 4)), TensorSpec("z", "float32", ("b",))),
        (),
        (node("n", "z", 0, op="aten.sym_size.int"), node("y", "x", "n")),
        (TensorSpec("out", "float32", ("a", 4)),),
        ("y",),
    )
    part = partition(g, but())
    assert [t.name for t in part.segments[0].graph.inputs] == ["x", "z"]


def test_a_size_of_a_graph_input_orders_nothing():
    """The size of a torch result equals that of the input, so the engine need not wait for it."""
    g = graph(
        node("t", "x"),
        node("n", "t", 0, op="aten.sym_size.int"),
        node("p", "x", "n"),
        node("u", "p", "t"),
        returns="u",
    )
    part = partition(g, but("t", "u"))
    assert shape_of(part) == [("e", "n p"), ("t", "t u")]
    assert part.segments[0].graph.nodes[0].args == (Ref("x"), 0)


def test_a_number_read_from_data_keeps_its_readers_in_torch():
    g = graph(
        node("p", "x"),
        node("n", "p", op="aten._local_scalar_dense.default"),
        node("m", "n", 1, op="sym.add"),
        node("t", "p", "m"),
        node("y", "t"),
    )
    part = partition(g, but())
    assert shape_of(part) == [("e", "p"), ("t", "n m t"), ("e", "y")]
    assert [(k.node, k.reason.code) for k in part.report.kept] == [
        ("n", "data_dependent_size"),
        ("t", "data_dependent_size"),
    ]
    assert "aten._local_scalar_dense" in part.report.kept[1].reason.detail


def test_size_arithmetic_that_the_engine_lacks_keeps_its_readers_in_torch():
    g = graph(
        node("n", "x", 0, op="aten.sym_size.int"),
        node("m", "n", 1, op="sym.truediv"),
        node("y", "x", "m"),
    )
    part = partition(g, but("sym.truediv"))
    assert shape_of(part) == [("t", "n m y")]
    assert [(k.node, k.reason.detail) for k in part.report.kept] == [
        ("m", "no converter"),
        ("y", "it reads a size: no converter"),
    ]


def test_a_tensor_whose_size_has_no_range_enters_no_engine():
    def loose(name: str, read: str) -> Node:
        return Node("aten.f.default", (Ref(read),), (), (Value(name, "float32", ("u0",)),))

    g = graph(
        node("r", "x"),
        *(loose("t", "x"), loose("p", "t"), loose("q", "p")),
        node("y", "q", "r"),
        node("z", "r"),
        returns="y z",
    )
    part = partition(g, but("t"))
    assert shape_of(part) == [("e", "r z"), ("t", "t p q y")]
    assert {k.reason.code for k in part.report.kept[1:]} == {"unbounded_size"}
    assert "got t of shape ['u0']" in part.report.kept[1].reason.detail


def test_small_engines_join_torch():
    g = graph(
        node("p", "x"),
        node("t", "p"),
        node("v", "t", op="aten.view.default"),
        node("u", "v"),
        node("q", "u"),
        node("y", "q", "p"),
    )
    part = partition(g, but("t", "u"))
    assert shape_of(part) == [("e", "p"), ("t", "t v u"), ("e", "q y")]
    assert part.report.kept[1].reason.code == "too_small"
    part = partition(g, but("t", "u"), PartitionOptions(min_nodes=2))
    assert shape_of(part) == [("t", "p t v u"), ("e", "q y")]
    part = partition(g, but("t", "u"), PartitionOptions(min_nodes=3))
    assert shape_of(part) == [("t", "p t v u q y")]
    assert "at least 3 compute nodes, got 2" in part.report.text()


def test_an_engine_of_constants_joins_torch():
    g = graph(node("c"), node("d", "c", "w"), node("y", "x"), returns="d y")
    assert shape_of(partition(g, but("y"))) == [("t", "c d y")]
    assert shape_of(partition(g, but())) == [("e", "c d y")]


def test_an_input_returned_needs_no_segment_and_a_weight_travels_in_a_torch_segment():
    assert partition(graph(returns="x"), but()).segments == ()
    part = partition(graph(node("y", "x"), returns="y w x"), but())
    assert [s.kind for s in part.segments] == ["engine", "torch_graph"]
    carrier = part.segments[1].graph
    assert (carrier.nodes, carrier.inputs, carrier.returns) == ((), (), ("w",))
    assert [w.name for w in carrier.weights] == ["w"]
    assert part.returns == ("y", "w", "x")
    part = partition(graph(node("y", "x", "w"), returns="y w"), but("y"))
    assert [s.graph.returns for s in part.segments] == [("y", "w")]


def test_nodes_that_nothing_reads_are_left_out():
    assert shape_of(partition(graph(node("dead", "x"), node("y", "x")), but("dead"))) == [
        ("e", "y")
    ]


def test_a_bare_size_can_not_be_returned():
    g = graph(node("n", "x", 0, op="aten.sym_size.int"), returns="n")
    with pytest.raises(PartitionRefused, match="got n, a bare size"):
        partition(g, but())


# -- what the user keeps in torch --------------------------------------------------------------

MODEL = graph(
    node("p", "x", module="encoder.layer.0.attention.self.query", module_class="Linear"),
    node("s", "p", module="encoder.layer.0.attention.self", module_class="m.SelfAttention"),
    node("q", "s", module="encoder.layer.1.attention.self", module_class="m.SelfAttention"),
    node("y", "q", op="aten.gelu.default", module="head", module_class="Encoder/m.Head"),
)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("encoder.layer.0", ["p", "s"]),
        ("encoder.layer.0.attention.self", ["p", "s"]),
        ("encoder.layer.*.attention.self", ["p", "s", "q"]),
        ("SelfAttention", ["p", "s", "q"]),
        ("m.Self*", ["p", "s", "q"]),
        ("Linear", ["p"]),
        ("Encoder", ["y"]),
        ("head", ["y"]),
    ],
)
def test_modules_stay_in_torch_with_everything_below(pattern, kept):
    part = partition(MODEL, but(), PartitionOptions(torch_executed_modules=(pattern,)))
    assert [k.node for k in part.report.kept] == kept
    assert repr(pattern) in part.report.kept[0].reason.detail


@pytest.mark.parametrize(
    "pattern", ["aten.gelu.default", "aten.gelu", "aten.ge*", "aten::gelu", "torch.ops.aten.gelu"]
)
def test_operators_stay_in_torch(pattern):
    part = partition(MODEL, but(), PartitionOptions(torch_executed_ops=(pattern,)))
    assert [k.node for k in part.report.kept] == ["y"]


@pytest.mark.parametrize(
    ("options", "code", "near"),
    [
        (
            PartitionOptions(torch_executed_modules=("encoder.layer.2",)),
            "unknown_module",
            "layer.1",
        ),
        (PartitionOptions(torch_executed_modules=("selfattention",)), "unknown_module", "SelfAtt"),
        (PartitionOptions(torch_executed_ops=("aten.gelo",)), "unknown_op", "aten.gelu"),
    ],
)
def test_a_pattern_that_matches_nothing_names_near_ones(options, code, near):
    with pytest.raises(PartitionRefused, match=r"matches none") as caught:
        partition(MODEL, but(), options)
    assert caught.value.code == code
    assert near in caught.value.remedy


def test_full_compilation_is_refused_for_small_graphs_too():
    whole = PartitionOptions(require_full_compilation=True, min_nodes=1)
    g = graph(node("p", "x"), node("y", "p"))
    assert shape_of(partition(g, but(), whole)) == [("e", "p y")]
    with pytest.raises(PartitionRefused) as caught:
        partition(g, but("y"), whole)
    assert caught.value.code == "not_fully_compiled"
    assert "got y (aten.f.default) at m.py:7" in caught.value.message
    assert "rewrite it" in caught.value.remedy
    with pytest.raises(PartitionRefused, match="too_small"):
        partition(g, but(), PartitionOptions(require_full_compilation=True, min_nodes=3))


def test_each_node_is_asked_about_once():
    calls = {}
    for count in (500, 5000):
        nodes = [node("n", "x", 0, op="aten.sym_size.int"), node("v0", "x", "n")]
        for i in range(1, count):
            nodes.append(node(f"v{i}", f"v{i - 1}", f"v{max(0, i - 7)}", "n"))
        seen: list[str] = []

        def refuse(n: Node, seen: list[str] = seen) -> Refusal | None:
            seen.append(n.name)
            return NO if n.name.endswith("77") else None

        part = partition(graph(*nodes, returns=nodes[-1].name), refuse)
        assert len(part.segments) == 2 * count // 100 + 1
        calls[count] = len(seen)
    assert calls == {500: 501, 5000: 5001}
