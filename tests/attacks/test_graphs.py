"""Torch graphs that a trusted key signed by mistake: operators with bad arguments, lies about sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import enginebundle
from enginebundle.errors import BundleError, FormatError, RuntimeFailure
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Word
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes import control
from enginebundle.runtimes.torch_graph import TorchGraph, run_graph
from tests.attacks.victim import Victim
from tests.enginebundle.calls import call

r = torch.rand
x, w = Ref("x"), Ref("w")
I32 = torch.int32


def ints(*values: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


def t(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    return tensors


P4 = (Ref("a"), Ref("b"), Ref("c"), Ref("d"))
LSTM = t(x=r(4, 2, 3), h=r(1, 2, 5), a=r(20, 3), b=r(20, 5), c=r(20), d=r(20))
HX = (Ref("h"), Ref("h"))
LAYER = (True, 1, 0.0, False, False, False)
BAG = t(w=r(10, 4), i=ints(1, 2), o=ints(0))
QKV = t(q=r(2, 8, 6, 32), k=r(2, 8, 6, 32), v=r(2, 8, 6, 32))
IMAGE = t(x=r(1, 1, 4, 4), g=r(1, 4, 4, 2))
NORM = t(x=r(2, 3, 4), w=r(3), m=r(3), s=r(3))
C44 = t(x=torch.complex(r(4, 4), r(4, 4)))
FLASH = "_scaled_dot_product_flash_attention_for_cpu"

BAD: dict[str, tuple[str, tuple[Argument, ...], dict[str, torch.Tensor]]] = {
    "reshape alias": ("_reshape_alias", (x, (100_000_000,), (1,)), t(x=r(4))),
    "strided": ("as_strided", (x, (2,), (10**9,), 0), t(x=r(4))),
    "strided copy": ("as_strided_copy", (x, (2,), (1,), 10**9), t(x=r(4))),
    "strided scatter": ("as_strided_scatter", (x, w, (2,), (10**9,), 0), t(x=r(4), w=r(2))),
    "norm without statistics": ("native_batch_norm", (x, None, None, None, None, False, 0.1, 1e-5), NORM),
    "norm of few channels": ("native_batch_norm", (x, w, w, w, w, False, 0.1, 1e-5), t(x=r(2, 9, 4), w=r(1))),
    "norm, no training": ("_native_batch_norm_legit_no_training", (x, w, w, w, w, 0.1, 1e-5), t(x=r(2, 9, 4), w=r(1))),
    "norm of a vector": ("native_batch_norm", (x, None, None, w, w, False, 0.1, 1e-5), t(x=r(5), w=r(1))),
    "norm that trains": ("native_batch_norm", (x, w, w, Ref("m"), Ref("s"), True, 0.1, 1e-5), NORM),
    "batch norm that trains": ("batch_norm", (x, w, w, Ref("m"), Ref("s"), True, 0.1, 1e-5, False), NORM),
    "instance norm that trains": ("instance_norm", (x, w, w, Ref("m"), Ref("s"), True, 0.1, 1e-5, False), NORM),
    "statistics that are none": ("_native_batch_norm_legit.no_stats", (x, None, None, False, 0.1, 1e-5), NORM),
    "statistics of few weights": (
        "_native_batch_norm_legit.no_stats", (x, w, w, True, 0.1, 1e-5), t(x=r(2, 9, 4), w=r(1)),
    ),
    "statistics of few channels": (
        "_native_batch_norm_legit_functional", (x, w, w, w, w, True, 0.1, 1e-5), t(x=r(2, 9, 4), w=r(1)),
    ),
    "group norm": ("native_group_norm", (x, w, w, 100_000, 4, 4, 2, 1e-5), t(x=r(1, 4, 4), w=r(4))),
    "rms norm": ("_fused_rms_norm", (x, (30_000,), None, 1e-5), t(x=r(2, 3))),
    "dropout": ("dropout", (x, 0.5, True), t(x=r(4))),
    "native dropout": ("native_dropout", (x, 0.5, None), t(x=r(4))),
    "attention with dropout": ("scaled_dot_product_attention", (Ref("q"), Ref("k"), Ref("v"), None, 0.5), QKV),
    "attention by hand with dropout": (
        "_scaled_dot_product_attention_math", (Ref("q"), Ref("k"), Ref("v"), None, 0.5), QKV,
    ),
    "flash with dropout": (FLASH, (Ref("q"), Ref("k"), Ref("v"), 0.5), QKV),
    "flash of few heads": (FLASH, (Ref("q"), Ref("k"), Ref("v")), QKV | t(k=r(1, 1, 6, 32), v=r(1, 1, 6, 32))),
    "flash of few values": (FLASH, (Ref("q"), Ref("k"), Ref("v")), QKV | t(v=r(2, 8, 1, 32))),
    "recurrent dropout": ("lstm.input", (x, HX, P4, True, 1, 0.5, True, False, False), LSTM),
    "recurrent width": ("lstm.input", (x, HX, P4, *LAYER), LSTM | t(a=r(20, 3000))),
    "recurrent weights": ("lstm.input", (x, HX, P4, *LAYER), LSTM | t(a=r(1, 3), b=r(1, 5), c=r(1), d=r(1))),
    "recurrent biases": ("lstm.input", (x, HX, P4, *LAYER), LSTM | t(c=r(1), d=r(1))),
    "recurrent states": ("lstm.input", (x, HX, P4, *LAYER), LSTM | t(h=r(1, 1, 5))),
    "recurrent layers": ("gru.input", (x, Ref("h"), P4, True, 10**9, 0.0, False, False, False), LSTM),
    "packed sizes": (
        "lstm.data", (x, Ref("n"), HX, P4, True, 1, 0.0, False, False), LSTM | t(x=r(4, 3), n=ints(10**6, 5)),
    ),
    "packed sizes that rise": ("rnn_tanh.data", (x, Ref("n"), Ref("h"), P4, True, 1, 0.0, False, False),
                               t(x=r(5, 3), n=ints(2, 3), h=r(1, 2, 5), a=r(5, 3), b=r(5, 5), c=r(5), d=r(5))),
    "weight norm": ("_weight_norm_interface", (x, w, 0), t(x=r(30, 30), w=r(1, 1))),
    "weight norm of no dimension": ("_weight_norm_interface", (x, w, 7), t(x=r(30, 30), w=r(30, 1))),
    "weight norm in parts": ("_weight_norm", (x, w, 0), t(x=r(30, 30), w=r(1, 1))),
    "fft of no dimension": ("_fft_c2c", (x, (9,), 0, True), C44),
    "fft twice": ("_fft_r2c", (x, (1, 1), 0, True), t(x=r(4, 4))),
    "fft that makes much": ("_fft_c2r", (x, (1,), 0, 1_000_000), C44),
    "fft norm": ("_fft_r2c", (x, (0,), 99, True), t(x=r(4, 4))),
    "pdist": ("_pdist_forward", (x, 2.0), t(x=r(5, 5, 5))),
    "pdist of a vector": ("_pdist_forward", (x, 2.0), t(x=r(5))),
    "bag offsets": ("_embedding_bag_forward_only", (w, Ref("i"), Ref("o")), BAG | t(o=ints(0, 10**9))),
    "bag offsets back": ("_embedding_bag", (w, Ref("i"), Ref("o")), BAG | t(o=ints(0, 2, 1))),
    "bag rows": ("embedding_bag", (w, Ref("i"), Ref("o"), False, 2), BAG | t(i=ints(1, 10**8))),
    "bag mode": ("_embedding_bag_forward_only", (w, Ref("i"), Ref("o"), False, 9), BAG),
    "bag weights": ("_embedding_bag", (w, Ref("i"), Ref("o"), False, 0, False, Ref("p")), BAG | t(p=r(1))),
    "pivots": ("linalg_lu_solve", (x, w, x), t(x=torch.eye(4), w=ints(*[10**8] * 4, dtype=I32))),
    "signed pivots": ("linalg_ldl_solve", (x, w, x), t(x=torch.eye(4), w=ints(*[10**8] * 4, dtype=I32))),
    "pivots unpacked": ("lu_unpack", (x, w), t(x=torch.eye(4), w=ints(*[0] * 4, dtype=I32))),
    "grid interpolation": ("grid_sampler_2d", (x, Ref("g"), 77, 0, True), IMAGE),
    "grid padding": ("grid_sampler_2d", (x, Ref("g"), 0, 77, True), IMAGE),
    "grid of volumes": ("grid_sampler_3d", (x, Ref("g"), 2, 0, True), t(x=r(1, 1, 2, 2, 2), g=r(1, 2, 2, 2, 3))),
    "resize scale": ("_upsample_bilinear2d_aa", (x, (8, 8), False, 1e-7, 1e-7), IMAGE),
    "resize negative": ("upsample_nearest2d", (x, (8, 8), 2.0, -2.0), IMAGE),
    "pool samples": ("fractional_max_pool2d", (x, (2, 2), (3, 3), w), t(x=r(1, 9, 40, 40), w=r(1, 1, 2))),
    "pool samples far away": ("fractional_max_pool2d", (x, (2, 2), (3, 3), w), t(x=r(1, 1, 40, 40), w=r(1, 1, 2) + 9)),
    "segments unsafe": ("segment_reduce", (x, "sum", w, None, None, 0, True), t(x=r(4), w=ints(10**8))),
    "segment offsets": ("segment_reduce", (x, "sum", None, None, w), t(x=r(4), w=ints(0, 10**8))),
    "segment axis": ("segment_reduce", (x, "sum", w, None, None, 1), t(x=r(4, 4), w=ints(4).view(1, 1))),
    "grouped": (
        "_grouped_mm", (x, w, Ref("o")),
        t(x=r(16, 16).bfloat16(), w=r(2, 16, 16).bfloat16(), o=ints(9, 10**8, dtype=I32)),
    ),
    "polynomial": ("special_legendre_polynomial_p.n_scalar", (x, 10**9), t(x=r(4))),
    "polynomials": ("special_chebyshev_polynomial_u", (x, w), t(x=r(2), w=torch.tensor([1e9, 2.0]))),
    "bins": ("bincount", (x,), t(x=ints(1 << 40))),
    "more bins": ("bincount", (x, None, 1 << 40), t(x=ints(1))),
    "classes": ("one_hot", (x, -1), t(x=ints(1 << 40))),
    "repeats": ("repeat_interleave.Tensor", (x,), t(x=ints(1 << 40))),
    "repeats of another size": ("repeat_interleave.Tensor", (x,), t(x=ints(1, -5, 3))),
    "combinations": ("combinations", (x, 9), t(x=r(1000))),
    "many sections": ("tensor_split.sections", (x, 10**9), t(x=r(4))),
    "zeros": ("zeros", ((1 << 50,),), {}),
    "a range": ("arange", (1 << 50,), {}),
    "an expansion": ("repeat", (x, (1 << 40,)), t(x=r(4))),
    "an outer product": ("ger", (x, x), t(x=r(200_000))),
    "a broadcast": ("add.Tensor", (x, w), t(x=r(200_000, 1), w=r(1, 200_000))),
    "a full tensor": ("new_full", (x, (200_000, 200_000), 1.0), t(x=r(1))),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_arguments_that_torch_does_not_look_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_MAX_BYTES", str(1 << 30))
    op, args, given = BAD[name]
    full = f"aten.{op}" if "." in op else f"aten.{op}.default"
    kept = {key: tensor.clone() for key, tensor in given.items()}
    with pytest.raises(RuntimeFailure):
        run_graph(call(full, *args, given=given), {}, given)
    for key, tensor in given.items():
        assert torch.equal(tensor, kept[key])


def two_steps(first: Node, *, inputs: tuple[TensorSpec, ...], out: TensorSpec) -> Graph:
    (value,) = first.outputs
    last = Node("aten.alias.default", (Ref(value.name),), (), (Value("out", out.dtype, out.shape),))
    return Graph(inputs, (), (first, last), (replace(out, name="out"),), ("out",))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3,), "float32"), (("n", 1), "float32"), (("n",), "int64"), (("n*2",), "float32")],
)
def test_a_result_that_the_graph_says_otherwise(shape: tuple[object, ...], dtype: str) -> None:
    value = Value("v", dtype, shape)  # type: ignore[arg-type]
    lie = two_steps(
        Node("aten.relu.default", (x,), (), (value,)),
        inputs=(TensorSpec("x", "float32", ("n",)),), out=TensorSpec("v", dtype, shape),  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(RuntimeFailure, match="v: expected torch"):
        run_graph(lie, {}, {"x": torch.ones(5)})


def test_a_lie_at_some_sizes_only() -> None:
    value = Value("v", "float32", ("min(n, 5)",))
    lie = two_steps(
        Node("aten.relu.default", (x,), (), (value,)),
        inputs=(TensorSpec("x", "float32", ("n",)),), out=TensorSpec("v", "float32", ("min(n, 5)",)),
    )  # fmt: skip
    run = TorchGraph(lie, {})
    for size in (2, 5, 3):
        assert run({"x": torch.ones(size)})["out"].shape == (size,)
    with pytest.raises(
        RuntimeFailure, match=r"v: expected torch.float32 \[5\], got torch.float32 \[7\]"
    ):
        run({"x": torch.ones(7)})


def test_between_sizes_that_were_looked_at_results_are_still_held() -> None:
    value = Value("v", "float32", ("n - n % 5 // 4",))
    lie = two_steps(
        Node("aten.relu.default", (x,), (), (value,)),
        inputs=(TensorSpec("x", "float32", ("n",)),), out=TensorSpec("v", "float32", value.shape),
    )  # fmt: skip
    run = TorchGraph(lie, {})
    for size in (1, 8, 5):
        run({"x": torch.ones(size)})
    with pytest.raises(RuntimeFailure, match="v: expected"):
        run({"x": torch.ones(4)})


def test_sizes_that_data_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows where x is true: as many as there are, twice, and never more memory than is allowed."""
    spec = TensorSpec("x", "int64", ("n",))
    nodes = (
        Node("aten.nonzero.default", (x,), (), (Value("rows", "int64", ("u0", 1)),)),
        Node(
            "aten.repeat.default", (Ref("rows"), (1, 4)), (), (Value("wide", "int64", ("u0", 4)),)
        ),
        Node("aten.sum.default", (x,), (), (Value("sum", "int64"),)),
        Node("aten._local_scalar_dense.default", (Ref("sum"),), (), (Value("count", "symint"),)),
        Node("aten.full.default", ((Ref("count"),), 1.0), (), (Value("ones", "float32", ("u1",)),)),
    )
    outs = TensorSpec("wide", "int64", ("u0", 4)), TensorSpec("ones", "float32", ("u1",))
    run = TorchGraph(Graph((spec,), (), nodes, outs, ("wide", "ones")), {})
    for data in ([0, 1, 2, 0], [1, 1, 1, 9], [0, 0, 0, 0]):
        got = run({"x": torch.tensor(data)})
        want = torch.tensor(data).nonzero().repeat(1, 4)
        assert torch.equal(got["wide"], want)
        assert torch.equal(got["ones"], torch.ones(sum(data)))
    monkeypatch.setenv("ENGINEBUNDLE_MAX_BYTES", "1000")
    small = TorchGraph(run.graph, {})
    with pytest.raises(
        RuntimeFailure, match=r"aten.full.default \(ones\) failed: 40000 bytes at once"
    ):
        small({"x": torch.tensor([0, 0, 0, 10_000])})


def test_memory_counts_what_is_alive_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten results of 4,000 bytes one after another, views of them, and none kept."""
    nodes, last = [], "x"
    for number in range(10):
        nodes.append(
            Node("aten.relu.default", (Ref(last),), (), (Value(f"a{number}", "float32", (1000,)),))
        )
        nodes.append(
            Node(
                "aten.view.default",
                (Ref(f"a{number}"), (1000,)),
                (),
                (Value(f"v{number}", "float32", (1000,)),),
            )
        )
        last = f"v{number}"
    spec = TensorSpec("x", "float32", (1000,))
    graph = Graph((spec,), (), tuple(nodes), (replace(spec, name="y"),), (last,))
    monkeypatch.setenv("ENGINEBUNDLE_MAX_BYTES", "8000")
    assert run_graph(graph, {}, {"x": torch.ones(1000)})["y"].sum() == 1000
    monkeypatch.setenv("ENGINEBUNDLE_MAX_BYTES", "7999")
    with pytest.raises(RuntimeFailure, match="8000 bytes at once, expected at most 7999"):
        run_graph(graph, {}, {"x": torch.ones(1000)})
    monkeypatch.setenv("ENGINEBUNDLE_MAX_BYTES", "much")
    with pytest.raises(RuntimeFailure, match="ENGINEBUNDLE_MAX_BYTES='much': expected a number"):
        TorchGraph(graph, {})


def test_a_call_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SECONDS", -1.0)
    with pytest.raises(RuntimeFailure, match="the call takes longer than -1 s"):
        run_graph(call("aten.relu.default", x), {}, {"x": torch.ones(3)})


@pytest.mark.parametrize("op", ["as_strided", "as_strided_copy"])
def test_a_graph_sees_no_more_of_a_callers_memory_than_its_input(op: str) -> None:
    """The caller passes one row of a batch."""
    batch = torch.arange(100.0).view(10, 10)
    given = {"x": batch[3]}
    whole = call(f"aten.{op}.default", x, (100,), (1,), 0, given=given, made=[torch.ones(100)])
    with pytest.raises(RuntimeFailure, match="out of bounds"):
        run_graph(whole, {}, given)
    row = call(f"aten.{op}.default", x, (5,), (2,), 0, given=given, made=[torch.ones(5)])
    assert run_graph(row, {}, given)["out.0"].tolist() == [30, 32, 34, 36, 38]


def test_memory_between_elements_is_zero_too() -> None:
    """Strides leave gaps, which a second call could read."""
    nodes = (
        Node(
            "aten.empty_strided.default",
            ((10, 2), (2000, 1)),
            (),
            (Value("e", "float32", (10, 2)),),
        ),
        Node(
            "aten.as_strided.default",
            (Ref("e"), (18_000,), (1,)),
            (),
            (Value("g", "float32", (18_000,)),),
        ),
    )
    graph = Graph((), (), nodes, (TensorSpec("g", "float32", (18_000,)),), ("g",))
    for _ in range(20):
        torch.full((18_002,), 7.0)  # leaves its content to the allocator
        assert not run_graph(graph, {}, {})["g"].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_call_changes_nothing(victim: Victim, dtype: torch.dtype) -> None:
    session = enginebundle.load(f"{victim.root}/tiny")
    given = {"x": r(3, 3), "mask": torch.ones(3, dtype=torch.bool)}
    want = session(**given)["y"]
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(session(**given)["y"], want)
        assert torch.is_autocast_enabled("cpu")
        assert (r(3, 3) @ r(3, 3)).dtype == dtype


def test_a_default_dtype_of_the_callers_is_never_a_silent_change() -> None:
    given = {"x": torch.ones(3, dtype=torch.int64)}
    halves = call("aten.div.Tensor", x, 2, given=given)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(
            RuntimeFailure, match=r"expected torch.float32 \[3\], got torch.float64 \[3\]"
        ):
            run_graph(halves, {}, given)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("word", [Word("layout", "sparse_coo"), Word("layout", "jagged")])
def test_other_layouts(word: Word) -> None:
    with pytest.raises(FormatError, match="expected strided"):
        TorchGraph(call("aten.zeros.default", (3,), layout=word), {})


def test_a_device_that_is_written_as_text() -> None:
    graph = call("aten.to.device", x, "meta", Word("dtype", "float32"))
    with pytest.raises(FormatError, match="expected a device as device, got 'meta'"):
        run_graph(graph, {}, {"x": torch.ones(3)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kwargs":{}', b'"kwargs":[]'), (b'"op":"aten.relu.default"', b'"op":7'),
        (b'"args":[{"ref":"lin"}]', b'"args":7'), (b'"outputs":[{"dtype"', b'"outputs":[7,{"dtype"'),
        (b'"shape":["b",3]', b'"shape":7'), (b'["b",1]', b'[{},1]'),
        (b'["b",1]', b'"b"'), (b'"returns":["y0"', b'"returns":[["y0"]'), (b'"name":"w"', b'"name":"\\ud800"'),
        (b'"args":[{"ref":"act"},1,-1]', b'"args":[{"ref":"act"},1e999,-1]'),
        (b'"dtype":"symint","name":"size","shape":[]', b'"dtype":"symint","name":"size","shape":[1]'),
        (b'"dtype":"float32","name":"act"', b'"dtype":"symint","name":"act"'),
    ],
)  # fmt: skip
def test_a_graph_of_other_types(victim: Victim, old: bytes, new: bytes) -> None:
    blob = victim.index.variants[0].parts[0].segments[0].blob
    data = victim.store.read_blob(blob)
    changed = data.replace(old, new, 1)
    assert changed != data
    victim.replace_blob(blob, changed)
    with pytest.raises(BundleError):
        victim.load()


def test_what_an_operator_raises_is_a_bundle_error() -> None:
    for op, args in {
        "aten.view.default": (x, (10**30,)), "aten.permute.default": (x, (5,)), "aten.select.int": (x, 9, 9),
        "aten.view.dtype": (x, "float32"), "aten.einsum.default": ("\0", (x,)), "aten.pad.default": (x, (1,), "\n"),
    }.items():  # fmt: skip
        with pytest.raises(BundleError):
            run_graph(call(op, *args), {}, {"x": torch.ones(3)})


def test_outputs_are_held_against_the_index(victim: Victim) -> None:
    """The graph says what it makes, the index says otherwise."""

    def change(value: dict[str, object]) -> object:
        value["outputs"][0]["shape"] = ["b", 3]  # type: ignore[index]
        return value

    victim.resign(change)
    with pytest.raises(
        BundleError, match=r"output 'y': expected float32 \[1, 3\], got float32 \[1, 2\]"
    ):
        victim.load()
