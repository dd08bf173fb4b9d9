"""The tolerance table: scaled by the output, exact for integers, wider for less precision."""

from __future__ import annotations

import math

import pytest
import torch

from compiler.goldens.tolerance import (
    DEPTH,
    TABLE,
    TINY,
    ToleranceRefused,
    chain,
    computed,
    magnitude,
    remedy,
    tolerance,
    tolerances,
)
from enginebundle.format.graph import Graph, Node, Ref, Value, Weight
from enginebundle.format.spec import BACKENDS, Target, TensorSpec, Tolerance

CPU, TRT = Target.parse("torch:cpu"), Target.parse("trt:sm_89")


def passes(got: torch.Tensor, want: torch.Tensor, bound: Tolerance) -> bool:
    return bool(((got - want).abs() <= bound.atol + bound.rtol * want.abs()).all())


def test_every_backend_has_every_precision():
    assert TABLE.keys() == set(BACKENDS)
    assert {frozenset(rows) for rows in TABLE.values()} == {
        frozenset({"fp32", "tf32", "fp16", "bf16"})
    }


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_an_output_is_held_to_as_many_digits_whatever_its_size(scale):
    want = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * scale
    bound = tolerance(TRT, "fp32", want)
    noise = torch.linspace(-1, 1, 1000) * scale
    assert passes(want + 1e-4 * noise, want, bound)
    assert not passes(want + 1e-2 * noise, want, bound)
    assert not passes(torch.zeros_like(want), want, bound)


def test_numbers():
    want = torch.full((4,), 2.0)
    assert tolerance(CPU, "fp32", want) == Tolerance(1e-4, 5e-5)
    assert tolerance(TRT, "fp32", want) == Tolerance(6e-4, 3e-4)
    assert tolerance(TRT, "tf32", want) == Tolerance(6e-2, 1e-2)
    assert tolerance(CPU, "tf32", want) == tolerance(CPU, "fp32", want)
    assert tolerance(TRT, "fp32", torch.full((4,), 1.23456)) == Tolerance(3.8e-4, 3e-4)


def test_less_precision_is_wider():
    want = torch.ones(3)
    bounds = [tolerance(TRT, p, want).atol for p in ("fp32", "tf32", "fp16", "bf16")]
    assert bounds == sorted(set(bounds))
    assert tolerance(CPU, "fp32", want).atol < bounds[0]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.uint8])
def test_integers_and_bools_are_exact(dtype):
    assert tolerance(TRT, "bf16", torch.ones(3, dtype=dtype)) == Tolerance(0.0, 0.0)


def test_a_half_precision_output_is_rounded_itself():
    assert tolerance(CPU, "fp32", torch.ones(3, dtype=torch.float16)).rtol == 2e-3
    assert tolerance(CPU, "fp32", torch.ones(3, dtype=torch.bfloat16)).rtol == 1.6e-2


@pytest.mark.parametrize(
    ("want", "size"),
    [
        (torch.zeros(3), 0.0),
        (torch.empty(0, 4), 0.0),
        (torch.tensor([math.nan, math.inf]), 0.0),
        (torch.tensor([3.0, -4.0, math.nan, -math.inf]), math.sqrt(12.5)),
        (torch.tensor([3 + 4j]), 5.0),
        (torch.full((10,), 1e30), 1e30),
        (torch.full((10,), 1e300, dtype=torch.float64), 1e300),
    ],
)
def test_magnitude(want, size):
    assert magnitude(want) == pytest.approx(size)
    bound = tolerance(TRT, "fp32", want)
    assert bound.atol == pytest.approx(3e-4 * max(size, TINY), rel=0.1)


def test_depth_widens_and_never_narrows():
    want = torch.ones(3)
    assert tolerance(TRT, "fp32", want, depth=4 * DEPTH).atol == 6e-4
    assert tolerance(TRT, "fp32", want, depth=1) == tolerance(TRT, "fp32", want)


def test_chain_counts_products_in_a_row():
    def node(name: str, op: str, *reads: str) -> Node:
        return Node(f"aten.{op}", tuple(map(Ref, reads)), (), (Value(name, "float32", (4,)),))

    nodes = (
        node("q", "linear.default", "x"),
        node("k", "linear.default", "x"),
        node("a", "scaled_dot_product_attention.default", "q", "k", "k"),
        node("g", "gelu.default", "a"),
        node("o", "addmm.default", "g", "x", "x"),
    )
    spec = TensorSpec("x", "float32", (4,))
    assert chain(Graph((spec,), (), nodes, (spec,), ("o",))) == 4
    assert chain(Graph((spec,), (), (), (spec,), ("x",))) == 1


def halves(op: str, read: str, made: str) -> Graph:
    """x -> op -> float32, with the types of what `op` reads and makes."""
    node = Node(f"aten.{op}", (Ref("x"),), (), (Value("h", made, (4,)),))
    back = Node("aten._to_copy.default", (Ref("h"),), (), (Value("y", "float32", (4,)),))
    spec = TensorSpec("y", "float32", (4,))
    return Graph((TensorSpec("x", read, (4,)),), (), (node, back), (spec,), ("y",))


@pytest.mark.parametrize(
    ("op", "read", "made", "precision", "row"),
    [
        ("tanh.default", "float32", "float32", "fp32", "fp32"),
        ("tanh.default", "bfloat16", "bfloat16", "fp32", "bf16"),
        ("tanh.default", "float16", "float16", "fp32", "fp16"),
        ("tanh.default", "float16", "float16", "tf32", "fp16"),
        ("tanh.default", "float16", "float16", "bf16", "bf16"),
        ("view.default", "float16", "float16", "fp32", "fp32"),
        ("_to_copy.default", "float32", "bfloat16", "fp32", "fp32"),
        ("tanh.default", "float32", "float32", "fp16", "fp16"),
    ],
)
def test_a_graph_is_held_to_the_types_that_it_computes_in(op, read, made, precision, row):
    assert computed(precision, halves(op, read, made)) == row


def test_the_remedy_fits_the_cause():
    half, full = (
        halves("tanh.default", "bfloat16", "bfloat16"),
        halves("tanh.default", "float32", "float32"),
    )
    assert "raise the precision" not in remedy("fp32", half) + remedy("fp32", full)
    assert "load the model in float32" in remedy("fp32", half)
    assert "raise the precision" in remedy("fp16", half)


def test_one_tolerance_for_an_output_over_all_goldens():
    goldens = [{"y": torch.full((2,), size), "i": torch.ones(2).int()} for size in (1.0, 2.0, 1e9)]
    assert tolerances(TRT, "fp32", goldens) == (
        ("i", Tolerance(0.0, 0.0)),
        ("y", Tolerance(6e-4, 3e-4)),
    )


def test_the_users_bounds_come_first():
    goldens = [{"a": torch.ones(2), "b": torch.ones(2), "i": torch.ones(2).int()}]
    own = {"a": Tolerance(0.5, 0.0), "*": Tolerance(0.25, 0.125)}
    assert tolerances(TRT, "fp32", goldens, own) == (
        ("a", Tolerance(0.5, 0.0)),
        ("b", Tolerance(0.25, 0.125)),
        ("i", Tolerance(0.25, 0.125)),
    )


def test_a_bound_for_no_output_and_an_unknown_precision_are_refused():
    goldens = [{"logits": torch.ones(2), "hidden": torch.ones(2)}]
    with pytest.raises(ToleranceRefused, match="tolerance for 'logit'") as caught:
        tolerances(TRT, "fp32", goldens, {"logit": Tolerance(0.0, 0.0)})
    assert caught.value.remedy == "outputs are: logits"
    with pytest.raises(ToleranceRefused, match="precision 'int8' on trt:sm_89") as caught:
        tolerances(TRT, "int8", goldens)
    assert caught.value.remedy == "choose one of bf16, fp16, fp32, tf32"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_a_deep_network_in_half_precision_passes_and_a_wrong_one_does_not(precision, dtype):
    """72 products with norms and residual sums between, rounded after each, against float64."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(64, 64, generator=generator) / 8 for _ in range(72)]
    x = torch.randn(16, 64, generator=generator)

    def run(kind: torch.dtype, eps: float = 1e-5, skip: int | None = None) -> torch.Tensor:
        y = x.to(kind)
        for i, w in enumerate(weights):
            if i != skip:
                normal = torch.nn.functional.layer_norm(y, (64,), eps=eps)
                y = y + torch.tanh(normal @ w.to(kind))
        return torch.nn.functional.layer_norm(y, (64,)).to(torch.float32)

    want = run(torch.float64)
    assert passes(run(dtype), want, tolerance(TRT, precision, want, 72))
    assert passes(run(torch.float32), want, tolerance(CPU, "fp32", want, 72))
    assert not passes(run(dtype, skip=40), want, tolerance(TRT, precision, want, 72))
    assert not passes(run(dtype), want, tolerance(TRT, "fp32", want, 72))


def test_float32_on_tensorrt_rtx_is_held_to_what_tf32_products_give():
    want = torch.ones(4)
    rtx = Target.parse("rtx:sm_89")
    assert tolerance(rtx, "fp32", want) == tolerance(TRT, "tf32", want)
    assert tolerance(rtx, "fp32", want).atol > tolerance(TRT, "fp32", want).atol


def test_a_bound_for_no_output_is_answered_with_the_nearest_names():
    def refused(name: str, *outputs: str) -> ToleranceRefused:
        goldens = [{output: torch.ones(2)} for output in outputs]
        with pytest.raises(ToleranceRefused) as caught:
            tolerances(TRT, "fp32", goldens, {name: Tolerance(0.0, 0.0)})
        return caught.value

    found = refused("logit", "logit1", "logit2", "logit3", "logit4")
    assert found.code == "output"
    assert found.message == (
        "tolerance for 'logit': expected an output of the model, but none has that name"
    )
    assert found.remedy.count("logit") == 3, "the three nearest"
    assert refused("abcd", "abxy", "other").remedy == "outputs are: abxy", "half of it is alike"
    assert refused("qqq", "b", "a").remedy == "outputs are: a, b"


def test_an_unknown_precision_is_refused_by_its_code():
    with pytest.raises(ToleranceRefused) as caught:
        tolerances(TRT, "int8", [{"y": torch.ones(2)}])
    assert caught.value.code == "precision"
    assert caught.value.message == "no tolerance is known for precision 'int8' on trt:sm_89"


def test_an_output_that_only_some_goldens_have_is_scaled_by_those():
    goldens = [{"y": torch.ones(2)}, {"y": torch.ones(2), "z": torch.full((2,), 5.0)}]
    found = dict(tolerances(TRT, "fp32", goldens))
    assert found["z"] == Tolerance(1.5e-3, 3e-4)
    assert tolerances(TRT, "fp32", [*goldens, *goldens], depth=4 * DEPTH)[1] == (
        "z", Tolerance(3e-3, 6e-4),
    )  # fmt: skip


def test_an_outlier_on_either_side_does_not_move_a_tolerance():
    for sizes in (
        (1e-9, 1.0, 1.0),
        (1.0, 1e9, 1.0),
        (1e-9, 1.0, 1.0, 1e9),
        (1e-9, 1e-9, 1.0, 1.0, 1e9),
    ):
        goldens = [{"y": torch.full((2,), size)} for size in sizes]
        assert tolerances(TRT, "fp32", goldens) == (("y", Tolerance(3e-4, 3e-4)),)


@pytest.mark.parametrize(
    ("size", "atol"),
    [(1.0, 3e-4), (1.01, 3.1e-4), (1.1, 3.3e-4), (0.334, 1.1e-4), (3.3333, 1e-3), (33.34, 1.1e-2)],
)
def test_a_bound_is_rounded_up_to_two_digits(size, atol):
    assert tolerance(TRT, "fp32", torch.full((4,), size)).atol == atol


def test_weights_decide_on_the_type_as_inputs_do():
    weight = Weight(TensorSpec("w", "float16", (4,)), "sha256:" + "0" * 64)
    spec = TensorSpec("y", "float16", (4,))
    node = Node("aten.mul.Tensor", (Ref("x"), Ref("w")), (), (Value("y", "float16", (4,)),))
    graph = Graph((TensorSpec("x", "float32", (4,)),), (weight,), (node,), (spec,), ("y",))
    assert computed("fp32", graph) == "fp16"
    plain = Node("aten.mul.Tensor", (Ref("x"), Ref("x")), (), (Value("y", "float16", (4,)),))
    cast = Graph((TensorSpec("x", "float32", (4,)),), (weight,), (plain,), (spec,), ("y",))
    assert computed("fp32", cast) == "fp32"


def test_a_chain_may_begin_at_an_operator_that_reads_nothing():
    def node(name: str, op: str, *reads: str) -> Node:
        return Node(f"aten.{op}", tuple(map(Ref, reads)), (), (Value(name, "float32", (4,)),))

    nodes = (
        node("a", "arange.default"),
        node("b", "mm.default", "a"),
        node("c", "mm.default", "b"),
    )
    spec = TensorSpec("c", "float32", (4,))
    assert chain(Graph((), (), nodes, (spec,), ("c",))) == 2
    side = (*nodes, node("d", "add.Tensor", "a", "c"), node("e", "mm.default", "d", "a"))
    assert chain(Graph((), (), side, (spec,), ("c",))) == 3


def test_the_remedy_is_one_sentence():
    half = halves("tanh.default", "bfloat16", "bfloat16")
    full = halves("tanh.default", "float32", "float32")
    keep, state = (
        "keep that module in torch with torch_executed_modules",
        "or state a tolerance for the output",
    )
    load = "load the model in float32, if its half-precision weights need not be kept"
    assert remedy("fp32", full) == f"{keep}, {state}"
    assert remedy("fp16", full) == f"{keep}, raise the precision, {state}"
    assert remedy("fp32", half) == f"{keep}, {load}, {state}"
