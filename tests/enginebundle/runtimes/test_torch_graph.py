"""The interpreter of torch graphs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Weight, Word
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes.torch_graph import TorchGraph, run_graph
from enginebundle.runtimes.torch_ops import UNINITIALIZED
from tests.enginebundle.calls import call
from tests.enginebundle.examples import WEIGHTS, expected, graph

X = TensorSpec("x", "float32", ("a", "b"))


def test_the_example_runs() -> None:
    x, mask = torch.randn(5, 3), torch.tensor([True, False, True, True, False])
    got = run_graph(graph(), WEIGHTS, {"x": x, "mask": mask})
    want = expected(x, mask)
    torch.testing.assert_close(got["y0"], want["y"])
    assert got["rows0"].tolist() == 5
    assert got["rows0"].dtype == torch.int64


def test_values_are_dropped_after_their_last_use() -> None:
    run = TorchGraph(graph(), WEIGHTS)
    dropped = [step.drop for step in run.routine.steps]
    names = {slot.index: name for name, slot in run.routine.slots.items()}
    flat = [names[slot] for drops in dropped for slot in drops]
    assert sorted(flat) == sorted(set(flat))
    kept = set(names.values()) - set(flat)
    assert kept == {"y0", "rows0", *WEIGHTS}
    assert "lin" in [names[slot] for slot in dropped[1]]


@pytest.mark.parametrize(
    "op",
    [
        "aten.from_file.default", "aten.relu_.default", "aten.add.out", "aten.rand.default",
        "prims.add.default", "aten.set_.source_Storage", "os.system.default", "sym.eval",
        "aten.__class__.default", "aten.relu", "aten.load.default", "",
    ],
)  # fmt: skip
def test_anything_off_the_list_is_refused_before_a_call(op: str) -> None:
    with pytest.raises(FormatError, match="is not one that a bundle may call"):
        TorchGraph(call(op, Ref("x")), {})


def test_uninitialized_memory_never_comes_out() -> None:
    assert {"aten.empty.memory_format", "aten.new_empty.default"} <= UNINITIALIZED
    x = torch.ones(999)
    got = run_graph(
        call("aten.empty_like.default", Ref("x"), given={"x": x}, made=[x]), {}, {"x": x}
    )
    assert got["out.0"].count_nonzero() == 0


def test_an_operator_that_fails_says_which() -> None:
    x = torch.ones(2, 3)
    broken = call("aten.mm.default", Ref("x"), Ref("x"), given={"x": x})
    with pytest.raises(RuntimeFailure, match=r"aten.mm.default \(out.0\) failed: "):
        run_graph(broken, {}, {"x": x})
    many = call("aten.chunk.default", Ref("x"), 2, given={"x": x}, made=[x, x, x])
    with pytest.raises(RuntimeFailure, match="expected 3 results, got 2"):
        run_graph(many, {}, {"x": x})


def test_words_become_torch_words() -> None:
    words = {
        "dtype": Word("dtype", "float64"),
        "layout": Word("layout", "strided"),
        "device": Word("device", "cuda:7"),
        "memory_format": Word("memory_format", "contiguous_format"),
    }
    double = torch.ones(3, dtype=torch.float64)
    graph = call("aten._to_copy.default", Ref("x"), made=[double], **words)
    got = run_graph(graph, {}, {"x": torch.ones(3)})
    assert got["out.0"].dtype == torch.float64
    assert got["out.0"].device.type == "cpu"
    for word in (Word("dtype", "load"), Word("layout", "sparse_coo"), Word("dtype", "nope")):
        with pytest.raises(FormatError, match=r"torch .* has none|expected strided"):
            TorchGraph(call("aten._to_copy.default", Ref("x"), dtype=word), {})


def test_weights_must_be_the_graphs() -> None:
    with pytest.raises(FormatError, match="weight 'w' of the graph is not among its weights"):
        TorchGraph(graph(), {})
    with pytest.raises(
        FormatError, match=r"weight 'w': expected float32\[3, 2\], got float64\[3, 2\]"
    ):
        TorchGraph(graph(), WEIGHTS | {"w": WEIGHTS["w"].double()})


def test_outputs_never_share_memory_with_weights_or_inputs() -> None:
    spec = TensorSpec("w", "float32", (4,))
    view = Node("aten.view.default", (Ref("w"), (2, 2)), (), (Value("v", "float32", (2, 2)),))
    same = Node("aten.alias.default", (Ref("x"),), (), (Value("s", "float32", ("n",)),))
    both = Graph(
        (TensorSpec("x", "float32", ("n",)),),
        (Weight(spec, digest_bytes(b"")),),
        (view, same),
        (TensorSpec("v", "float32", (2, 2)), TensorSpec("s", "float32", ("n",))),
        ("v", "s"),
    )
    weights, x = {"w": torch.zeros(4)}, torch.zeros(3)
    got = run_graph(both, weights, {"x": x})
    got["v"].fill_(1.0)
    got["s"].fill_(1.0)
    assert weights["w"].sum() == 0
    assert x.sum() == 0


CALLS = {
    "layer_norm": ("aten.layer_norm.default", (Ref("x"), (8,), Ref("g"), Ref("g"), 1e-5), {}),
    "attention": (
        "aten.scaled_dot_product_attention.default",
        (Ref("q"), Ref("q"), Ref("q")), {"is_causal": True, "scale": 0.5},
    ),
    "conv2d": ("aten.conv2d.default", (Ref("i"), Ref("k"), None, (1, 1), (1, 1)), {}),
    "conv2d padding": ("aten.conv2d.padding", (Ref("i"), Ref("k"), None, (1, 1), "same"), {}),
    "upsample": ("aten.upsample_bilinear2d.vec", (Ref("i"), None, False, (2.0, 2.0)), {}),
    "index": ("aten.index.Tensor", (Ref("x"), (None, Ref("n"))), {}),
    "native norm": ("aten.native_layer_norm.default", (Ref("x"), (8,), None, None, 1e-5), {}),
    "topk": ("aten.topk.default", (Ref("x"), 3, -1), {}),
    "infinity": ("aten.masked_fill.Scalar", (Ref("x"), Ref("m"), float("-inf")), {}),
    "gelu": ("aten.gelu.default", (Ref("x"),), {"approximate": "tanh"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_equal_torch_own(name: str) -> None:
    op, args, kwargs = CALLS[name]
    tensors = {
        "x": torch.randn(4, 8), "g": torch.randn(8), "q": torch.randn(1, 2, 5, 4),
        "i": torch.randn(1, 3, 6, 6), "k": torch.randn(2, 3, 3, 3),
        "n": torch.tensor([0, 3, 1]), "m": torch.rand(4, 8) > 0.5,
    }  # fmt: skip

    def plain(argument: Argument) -> object:
        if isinstance(argument, Ref):
            return tensors[argument.name]
        if isinstance(argument, tuple):
            return [plain(item) for item in argument]
        return argument

    _, packet, overload = op.split(".")
    want = getattr(getattr(torch.ops.aten, packet), overload)(*map(plain, args), **kwargs)
    results = want if isinstance(want, tuple) else (want,)
    got = run_graph(call(op, *args, given=tensors, made=results, **kwargs), {}, tensors)
    for index, result in enumerate(results):
        torch.testing.assert_close(got[f"out.{index}"], result, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_recurrent_layers(kind: str) -> None:
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](4, 5, batch_first=True)
    weights = {name: tensor.detach() for name, tensor in module.named_parameters()}
    state = torch.zeros(1, 2, 5)
    states: Argument = (Ref("h"), Ref("c")) if kind == "lstm" else Ref("h")
    x = torch.randn(2, 7, 4)
    given = {"x": x, "h": state, "c": state, **weights}
    made = [torch.empty(2, 7, 5), state, state][: 3 if kind == "lstm" else 2]
    node = call(
        f"aten.{kind}.input", Ref("x"), states, tuple(Ref(name) for name in weights), True, 1, 0.0,
        False, False, True, given=given, made=made,
    )  # fmt: skip
    got = run_graph(node, {}, given)
    want = module(x)[0]
    torch.testing.assert_close(got["out.0"], want.detach())


def test_an_output_must_be_a_tensor() -> None:
    size = Node("aten.sym_size.int", (Ref("x"), 0), (), (Value("n", "symint"),))
    wrong = Graph((X,), (), (size,), (TensorSpec("n", "int64", ()),), ("n",))
    with pytest.raises(RuntimeFailure, match="output 'n': expected a tensor, got int"):
        run_graph(wrong, {}, {"x": torch.ones(2, 3)})


def test_many_threads_may_call_one_graph() -> None:
    from concurrent.futures import ThreadPoolExecutor

    run = TorchGraph(graph(), WEIGHTS)
    cases = [(torch.randn(n, 3), torch.ones(n, dtype=torch.bool)) for n in range(1, 33)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda case: run({"x": case[0], "mask": case[1]}), cases))
    for (x, mask), got in zip(cases, results, strict=True):
        torch.testing.assert_close(got["y0"], expected(x, mask)["y"])


def test_the_graph_value_is_left_alone() -> None:
    before = graph()
    TorchGraph(before, WEIGHTS)
    assert replace(before) == graph()
