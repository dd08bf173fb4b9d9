"""Lowering: each pass does what it says, and the numbers stay."""

import copy
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from compiler.lower import (
    DEFAULT_KEEP,
    PIPELINE,
    LowerOptions,
    LowerRefused,
    lower,
    lower_recorded,
    spelling,
)
from compiler.lower.capture import capture
from compiler.lower.graphs import graph_digest
from compiler.program import Program, run
from compiler.trace.examples import default_example
from compiler.trace.export import trace
from compiler.trace.outputs import output_tensors
from enginebundle.format.spec import Profile, TensorSpec
from tests.compiler import small_models as models
from tests.compiler.small_models import profile, spec

F = "float32"
BATCH = (profile(b=(1, 2, 8)),)


def traced(model: nn.Module, *inputs: TensorSpec) -> ExportedProgram:
    return trace(model.eval(), inputs, BATCH)


def operators(exported: ExportedProgram) -> Counter[str]:
    return Counter(str(n.target) for n in exported.graph.nodes if n.op == "call_function")


def examples(inputs: tuple[TensorSpec, ...], one: Profile, point: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {s.name: default_example(s, s.sizes(one.at(point)), generator, 90) for s in inputs}
    if "attention_mask" in tensors:
        tensors["attention_mask"] = torch.ones_like(tensors["attention_mask"])
        tensors["attention_mask"][-1, one.at(point)["s"] // 2 + 1 :] = 0
    return tensors


@pytest.mark.parametrize("name", models.REAL)
def test_real_models_keep_their_numbers_at_every_corner(name: str) -> None:
    model, inputs, profiles = models.build(name)
    made = capture(lower(models.traced(name)[0]), inputs)
    for one in profiles:
        for point in ("min", "opt", "max"):
            given = examples(inputs, one, point)
            with torch.no_grad():
                want = output_tensors(model(**given))
            got = run(made, given)
            assert got.keys() == want.keys()
            for key in want:
                torch.testing.assert_close(got[key], want[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "precision", "bound"),
    [(name, "fp16", 0.01) for name in ("bert", "llama", "t5_encoder", "resnet", "vit", "lstm")]
    + [(name, "bf16", 0.08) for name in ("llama", "resnet", "lstm")],
)  # one transformer, one of convolutions and one recurrent: bfloat16 takes the same way as float16
def test_half_precision_of_real_models(name: str, precision: str, bound: float) -> None:
    model, inputs, profiles = models.build(name)
    made = capture(lower(models.traced(name)[0], precision=precision), inputs)
    given = examples(inputs, profiles[0], "opt")
    with torch.no_grad():
        want = output_tensors(model(**given))
    got = run(made, given)
    assert {t.dtype for t in got.values()} == {torch.float32}
    for key in want:
        scale = float(want[key].abs().max()) + 1e-3
        assert float((got[key] - want[key]).abs().max()) / scale < bound
    half = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    heavy = [n for n in made.graph.nodes if n.op.split(".")[1] in ("linear", "conv2d", "lstm")]
    assert heavy
    assert all(node.outputs[0].dtype == half for node in heavy)


def test_the_given_program_stays_as_it_is() -> None:
    exported = traced(Table(), spec("x", F, "b", 512))
    before, constants = graph_digest(exported), dict(exported.constants)
    weights = copy.deepcopy(exported.state_dict)
    lower(exported, precision="fp16")
    assert graph_digest(exported) == before
    assert exported.constants == constants
    assert all(torch.equal(exported.state_dict[k], v) for k, v in weights.items())


def test_keep_decides_what_is_decomposed() -> None:
    exported = traced(models.Mlp(), spec("x", F, "b", 8))
    kept = operators(lower(exported))
    assert {"aten.linear.default", "aten.gelu.default", "aten.layer_norm.default"} <= kept.keys()
    core = operators(lower(exported, frozenset()))
    assert {"aten.addmm.default", "aten.native_layer_norm.default"} <= core.keys()
    assert not {"aten.linear.default", "aten.layer_norm.default"} & core.keys()


def test_attention_stays_whole() -> None:
    found = operators(lower(models.traced("bert")[0]))
    assert found["aten.scaled_dot_product_attention.default"] == 2


def test_dropout_and_copies_vanish() -> None:
    class Aliases(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = x.clone().detach()
            return nn.functional.dropout(y, 0.5, self.training), y.to(torch.float32) * 1

    lowered = lower(
        traced(Aliases(), spec("x", F, "b", 8)), DEFAULT_KEEP | {"aten.dropout.default"}
    )
    assert operators(lowered) == Counter({"aten.mul.Tensor": 1})
    made = capture(lowered, (spec("x", F, "b", 8),))
    assert made.graph.returns[0] == "x"


def test_a_copy_that_changes_the_layout_stays() -> None:
    class Transposes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.transpose(1, 2).contiguous().view(x.shape[0], -1)

    inputs = (spec("x", F, "b", 3, 4),)
    made = capture(lower(traced(Transposes(), *inputs)), inputs)
    x = torch.randn(2, 3, 4)
    assert torch.equal(run(made, {"x": x})["output"], Transposes()(x))


def test_assertions_vanish() -> None:
    class Asserts(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nonzero(x)[:, 0]

    found = operators(lower(traced(Asserts(), spec("x", F, "b", 4))))
    assert not any("assert" in name or "constrain" in name for name in found)


def test_equal_calls_and_sizes_are_shared() -> None:
    class Repeats(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            a = torch.arange(x.shape[0]) + torch.arange(y.shape[0])
            return torch.sin(x) + torch.sin(x) + a[:, None]

    lowered = lower(traced(Repeats(), spec("x", F, "b", 4), spec("y", F, "b", 4)))
    found = operators(lowered)
    assert found["aten.sin.default"] == 1
    assert found["aten.arange.start_step"] == 1
    assert found["aten.sym_size.int"] == 1


def test_random_calls_are_never_shared() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.rand_like(x) - torch.rand_like(x)

    assert operators(lower(traced(Noise(), spec("x", F, "b", 4))))["aten.rand_like.default"] == 2


class Table(nn.Module):
    """A split weight, a computed table, and a constant that expansion would blow up."""

    def __init__(self) -> None:
        super().__init__()
        self.joint = nn.Parameter(torch.randn(3 * 1024, 512))
        self.small = nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.joint.chunk(3)
        table = torch.arange(512).float().cos()
        large = self.small[:, None].expand(4, 1 << 20) * 2
        result: torch.Tensor = (x + table) @ q.t() + x @ k.t() - x @ v.t() + large.sum()
        return result


def test_constants_fold_but_never_explode() -> None:
    lowered = lower(traced(Table(), spec("x", F, "b", 512)))
    made = capture(lowered, (spec("x", F, "b", 512),))
    found = operators(lowered)
    assert not any(n in found for n in ("aten.split.Tensor", "aten.arange.start_step", "aten.cos.default"))  # fmt: skip
    stored = sum(t.numel() * t.element_size() for t in made.weights.values())
    assert stored < 4 * (3 * 1024 * 512 + 4) + (1 << 20)


def test_a_folded_model_computes_the_same() -> None:
    model = Table().eval()
    inputs = (spec("x", F, "b", 512),)
    made = capture(lower(traced(model, *inputs)), inputs)
    x = torch.randn(2, 512)
    torch.testing.assert_close(run(made, {"x": x})["output"], model(x), rtol=1e-4, atol=1e-2)


def test_a_weight_used_twice_is_not_stored_in_two_layouts() -> None:
    class TiedEmbedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4096, 128)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.table(ids) @ self.table.weight.t().contiguous()

    ids = spec("ids", "int64", "b", 4)
    made = capture(lower(traced(TiedEmbedding(), ids)), (ids,))
    assert [w.spec.shape for w in made.graph.weights] == [(4096, 128)]


def test_batch_norm_folds_into_the_convolution_before_it() -> None:
    model = models.Convolution().eval()
    inputs = (spec("x", F, "b", 3, 8, 8),)
    exported = traced(model, *inputs)
    name = "aten._native_batch_norm_legit_no_training.default"
    lowered = lower(exported, frozenset({name}))
    assert name not in operators(lowered)
    x = torch.randn(2, 3, 8, 8)
    got = run(capture(lowered, inputs), {"x": x})["output"]
    torch.testing.assert_close(got, model(x), rtol=1e-5, atol=1e-5)


def test_batch_norm_alone_stays_or_becomes_a_product_and_a_sum() -> None:
    model = nn.BatchNorm2d(3).eval()
    inputs = (spec("input", F, "b", 3, 8, 8),)
    exported = traced(model, *inputs)
    name = "aten._native_batch_norm_legit_no_training.default"
    assert operators(lower(exported, frozenset({name})))[name] == 1
    lowered = lower(exported, frozenset())
    assert name not in operators(lowered)
    x = torch.randn(2, 3, 8, 8)
    got = run(capture(lowered, inputs), {"input": x})["output"]
    torch.testing.assert_close(got, model(x), rtol=1e-5, atol=1e-5)


def half(model: nn.Module, *inputs: TensorSpec, precision: str = "fp16") -> Program:
    return capture(lower(traced(model, *inputs), precision=precision), inputs)


def test_fp32_and_tf32_leave_the_graph_alone() -> None:
    inputs = (spec("x", F, "b", 8),)
    exported = traced(models.Mlp(), *inputs)
    plain = capture(lower(exported), inputs)
    assert capture(lower(exported, precision="tf32"), inputs).digest == plain.digest


def test_vectors_that_nobody_reads_are_not_computed() -> None:
    class Factors(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            u, s, _ = torch.linalg.svd(x)
            return torch.linalg.svd(x.mT)[1], u, s, torch.linalg.eigh(x @ x.mT)[0]

    x = torch.randn(3, 3)
    low = lower(torch.export.export(Factors(), (x,)))
    flags = [
        (n.target, n.kwargs.get("compute_uv", n.kwargs.get("compute_v", True)))
        for n in low.graph.nodes
        if n.target in (torch.ops.aten._linalg_svd.default, torch.ops.aten._linalg_eigh.default)
    ]
    assert flags == [
        (torch.ops.aten._linalg_svd.default, True), (torch.ops.aten._linalg_svd.default, False),
        (torch.ops.aten._linalg_eigh.default, False),
    ]  # fmt: skip
    for got, want in zip(low.module()(x), Factors()(x), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_half_keeps_the_declared_dtypes_at_the_border() -> None:
    made = half(models.Mlp(), spec("x", F, "b", 8))
    assert [t.dtype for t in (*made.graph.inputs, *made.graph.outputs)] == [F, F]
    assert {w.spec.dtype for w in made.graph.weights} == {"float16"}


def test_half_keeps_position_arithmetic_in_float32() -> None:
    torch.manual_seed(0)
    model = models.Positions().eval()
    inputs = (spec("x", F, "b", 5, 4), spec("position", "int64", "b", 5))
    made = half(model, *inputs)
    dtypes = {n.op: n.outputs[0].dtype for n in made.graph.nodes}
    assert dtypes["aten.sin.default"] == F
    assert dtypes["aten.linear.default"] == "float16"
    assert {w.name: w.spec.dtype for w in made.graph.weights}["frequency"] == F
    given = {"x": torch.randn(1, 5, 4), "position": torch.arange(4001, 4006)[None]}
    torch.testing.assert_close(run(made, given)["output"], model(**given), rtol=1e-2, atol=1e-2)


def test_half_keeps_sums_of_squares_in_range() -> None:
    class Rms(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    made = half(Rms(), spec("x", F, "b", 64))
    x = torch.full((2, 64), 1000.0)  # the squares are over 65504
    torch.testing.assert_close(run(made, {"x": x})["output"], torch.ones(2, 64), rtol=1e-2, atol=0)
    dtypes = {n.op: n.outputs[0].dtype for n in made.graph.nodes}
    assert dtypes["aten.pow.Tensor_Scalar"] == dtypes["aten.rsqrt.default"] == F
    assert dtypes["aten.mul.Tensor"] == "float16"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_masks_of_the_lowest_float32_stay_finite(precision: str) -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            lowest = torch.finfo(torch.float32).min
            added = (1.0 - keep.float()) * lowest
            filled = x.masked_fill(~keep, lowest)
            return torch.softmax(x + added, -1) + torch.softmax(filled, -1)

    made = half(Masked(), spec("x", F, "b", 4), spec("keep", "bool", "b", 4), precision=precision)
    keep = torch.tensor([[True, True, False, False], [False] * 4])
    got = run(made, {"x": torch.zeros(2, 4), "keep": keep})["output"]
    torch.testing.assert_close(got, torch.tensor([[1.0, 1, 0, 0], [0.5] * 4]))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_an_infinity_stays_one_in_half(precision: str) -> None:
    inf = float("inf")

    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, added: torch.Tensor) -> tuple[torch.Tensor, ...]:
            attended = nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=added)
            logits = x.sum(-1).masked_fill(added[..., 0] < 0, -inf)
            return attended, logits, torch.maximum(x, added), torch.exp(added)

    inputs = (spec("x", F, "b", 1, 3, 3), spec("added", F, "b", 1, 3, 3))
    made = half(Masked(), *inputs, precision=precision)
    added = torch.tensor([[-inf] * 3, [0.0, -inf, 1.0], [inf, 7e4, -3.4e38]]).expand(2, 1, 3, 3)
    feed = {"x": torch.randn(2, 1, 3, 3), "added": added[:, :, :2].repeat(1, 1, 2, 1)[:, :, :3]}
    for name, want in run(half(Masked(), *inputs, precision="fp32"), feed).items():
        got = run(made, feed)[name]
        torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2, equal_nan=True)
    limit = torch.finfo(getattr(torch, {"fp16": "float16", "bf16": "bfloat16"}[precision])).max
    bounded = run(
        half(nn.ReLU(), spec("input", F, "b"), precision=precision), {"input": added[0, 0, 2]}
    )
    assert bounded["output"].tolist() == [
        inf,
        min(7e4, limit) if precision == "fp16" else 70144.0,
        0,
    ]


def test_a_half_that_is_read_in_float32_is_not_cast_back_and_forth() -> None:
    class Wide(nn.Module):
        def forward(self, x: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
            return torch.cat([half.float(), x], 1) * 2

    inputs = (spec("x", F, "b", 4), spec("half", "float16", "b", 4))
    made = half(Wide(), *inputs)
    feed = {"x": torch.randn(2, 4), "half": torch.randn(2, 4).half()}
    want = torch.cat([feed["half"].float(), feed["x"]], 1) * 2
    torch.testing.assert_close(run(made, feed)["output"], want, rtol=1e-2, atol=1e-2)
    clamps = [node for node in made.graph.nodes if node.op == "aten.clamp.default"]
    assert len(clamps) == 1, "of x only"


class Sees(nn.Module):
    """A convolution of an image; `also` reads it besides."""

    def __init__(self, also: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)
        self.also = also

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.conv(x).relu(), self.also(self.other(x) if self.also is torch.neg else x)


@pytest.mark.parametrize(
    ("also", "bounded"),
    [(torch.neg, 0), (torch.abs, 1), (lambda x: x.flatten(1) @ x.flatten(1).T, 1)],
)
def test_an_image_is_not_bounded(
    also: Callable[[torch.Tensor], torch.Tensor], bounded: int
) -> None:
    """What only convolutions read."""
    inputs = (spec("x", F, "b", 3, 5, 5),)
    model = Sees(also).eval()
    made = half(model, *inputs)
    assert sum(node.op == "aten.clamp.default" for node in made.graph.nodes) == bounded
    x = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        for got, want in zip(run(made, {"x": x}).values(), model(x), strict=True):
            torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


def test_calls_that_the_model_wants_in_half_stay() -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = x.to(torch.bfloat16) * 2
            return y, y.float() + x

    made = half(Own(), spec("x", F, "b", 4))
    assert [o.dtype for o in made.graph.outputs] == ["bfloat16", F]
    x = torch.randn(2, 4)
    got = run(made, {"x": x})
    assert torch.equal(got["output_0"], x.to(torch.bfloat16) * 2)


def test_complex_calls_stay_in_float32() -> None:
    class Fourier(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs()

    made = half(Fourier(), spec("x", F, "b", 8))
    x = torch.randn(2, 8)
    want = torch.fft.rfft(x).abs()
    torch.testing.assert_close(run(made, {"x": x})["output"], want, rtol=1e-2, atol=1e-2)


def test_float64_models_run_in_half_too() -> None:
    made = half(nn.Linear(4, 4).double(), spec("input", "float64", "b", 4))
    assert made.graph.outputs[0].dtype == "float64"
    assert run(made, {"input": torch.ones(2, 4, dtype=torch.float64)})["output"].dtype == torch.float64  # fmt: skip


def test_unknown_precision() -> None:
    with pytest.raises(LowerRefused, match="precision 'fp8': expected one of fp32, tf32"):
        lower(traced(nn.ReLU(), spec("input", F, "b")), precision="fp8")


def test_records_say_which_passes_changed_the_graph() -> None:
    _, records = lower_recorded(traced(nn.Linear(4, 4), spec("input", F, "b", 4)))
    assert [r.name for r in records] == [p.name for p in PIPELINE]
    changed = {r.name for r in records if r.changed}
    assert "cast" not in changed
    assert "fold_constants" not in changed


def test_pipeline_is_spelled_one_way() -> None:
    one = spelling(LowerOptions(frozenset({"aten.b.default", "aten.a.default"}), "fp16"))
    assert one[0] == "decompose{keep=aten.a.default,aten.b.default}"
    assert one[-2:] == ("cast{precision=fp16}", "complex_pairs")
    assert len({p.name for p in PIPELINE}) == len(PIPELINE)
    assert all(p.requires and p.ensures for p in PIPELINE)


def test_the_lowered_program_is_a_valid_exported_program() -> None:
    model = models.Convolution().eval()
    exported = lower(traced(model, spec("x", F, "b", 3, 8, 8)), frozenset(), "fp16")
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(exported.module()(x=x), model(x), rtol=2e-2, atol=2e-2)


def test_experts_of_transformers_are_atens() -> None:
    import transformers.integrations.moe  # noqa: F401  registers the operator

    class Experts(nn.Module):
        def forward(self, rows, weight, ends):
            return torch.ops.transformers.grouped_mm_fallback(rows, weight, offs=ends)

    made = lower(
        traced(
            Experts(), spec("rows", F, "b", 8), spec("weight", F, 3, 8, 4), spec("ends", "int32", 3)
        )
    )
    assert operators(made) == {"aten._grouped_mm.default": 1}
    rows, weight = torch.randn(5, 8), torch.randn(3, 8, 4)
    ends = torch.tensor([2, 2, 5], dtype=torch.int32)
    got = made.module()(rows=rows, weight=weight, ends=ends)
    torch.testing.assert_close(got, torch.cat([rows[:2] @ weight[0], rows[2:] @ weight[2]]))
