"""Replacing pieces of a model: what is swapped, what is refused, and that goldens stay the original's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compiler.build.evaluated import InaccurateBuild, simulate
from compiler.goldens.goldens import GoldenSource
from compiler.network.kinds import KINDS
from compiler.pipeline import BuildJob, Traced, TraceJob, build_job, plan_job, trace_job
from compiler.recipes.attention import multihead_attention
from compiler.replace.apply import Replacement, ReplaceRefused
from compiler.trace.source import Source
from enginebundle.errors import FormatError
from enginebundle.format.spec import Profile, Range, Target, TensorSpec

HERE = (str(Path(__file__).parent),)
RTX = Target("rtx", ("sm_89",))
PROFILES = (Profile("p", (("b", Range(1, 4, 8)),)),)
WIDE = (Profile("p", (("b", Range(1, 4, 8)), ("s", Range(2, 6, 12)))),)
WAVE = Replacement("operator", "kiln_examples::wave", "converter", "replace_examples:wave_on_net")


def traced(model: str, *replace: Replacement, shape: tuple[int | str, ...] = ("b", 8)) -> Traced:
    job = TraceJob(
        Source(f"replace_examples:{model}", search_path=HERE),
        (TensorSpec("x", "float32", shape),),
        WIDE if "s" in shape else PROFILES,
        GoldenSource(seed=0, cases=2),
        replace=replace,
    )
    return trace_job(job)


def checked(made: Traced, *replace: Replacement, target: Target = RTX) -> list[str]:
    """Kinds of the segments, after the networks' numbers were held against the goldens."""
    planned = plan_job(made.program, BuildJob(target, PROFILES, replace=replace, search_path=HERE))
    simulate(made.program, planned.parts, planned.networks, made.goldens, "fp32", {})
    return [segment.kind for segment in planned.parts.segments]


@pytest.mark.parametrize("pattern", ["Block", "blocks.*", "blocks.[01]", "*.Block"])
def test_modules_by_class_and_glob(pattern: str) -> None:
    one = Replacement("module", pattern, "with", "replace_examples:fused")
    made = traced("plain", one)
    assert made.replaced[0].places == ("blocks.0", "blocks.1")
    assert checked(made) == ["engine"]


def test_a_module_by_path() -> None:
    made = traced("plain", Replacement("module", "blocks.1", "with", "replace_examples:fused"))
    assert made.replaced[0].places == ("blocks.1",)


def test_goldens_are_the_original_model_s() -> None:
    one = Replacement("module", "blocks.1", "with", "replace_examples:doubled")
    made, original = traced("plain", one), traced("plain")
    for mine, theirs in zip(made.goldens, original.goldens, strict=True):
        assert torch.equal(mine.outputs["output"], theirs.outputs["output"])
    with pytest.raises(InaccurateBuild, match="output"):
        checked(made)


def test_an_operator_by_a_converter() -> None:
    made = traced("model", WAVE)
    assert "kiln_examples.wave.default" in [node.op for node in made.program.graph.nodes]
    assert checked(made, WAVE) == ["engine"]


def test_the_converter_is_for_this_compile_only() -> None:
    made = traced("model", WAVE)
    planned = plan_job(made.program, BuildJob(RTX, PROFILES))
    (kept,) = planned.parts.report.kept
    assert (kept.op, kept.reason.code) == ("kiln_examples.wave.default", "no_converter")


def test_a_wrong_converter_does_not_pass() -> None:
    made = traced("model", WAVE)
    wrong = Replacement("operator", WAVE.pattern, "converter", "replace_examples:wrong_wave_on_net")
    with pytest.raises(InaccurateBuild, match=r"kiln_examples\.wave"):
        checked(made, wrong)


def test_it_builds_for_real() -> None:
    made = traced("model", WAVE)
    job = BuildJob(RTX, PROFILES, replace=(WAVE,), search_path=HERE, require_full_compilation=True)
    built = build_job(made.program, job, made.goldens)
    assert built.segments[0].engine


def test_what_no_bundle_can_call_is_no_torch_segment() -> None:
    made = traced("model", WAVE)
    with pytest.raises(Exception, match="has to run in torch") as refused:
        build_job(made.program, BuildJob(RTX, PROFILES), made.goldens)
    assert "replace_examples.py" in str(refused.value)


def test_an_operator_by_a_torch_function() -> None:
    one = Replacement("operator", "aten.gelu", "with", "replace_examples:gelu_by_erf")
    other = Replacement("operator", "kiln_examples.wave", "with", "replace_examples:plain_wave")
    made = traced("model", one, other)
    ops = {node.op for node in made.program.graph.nodes}
    assert {"aten.erf.default", "aten.sin.default"} <= ops
    assert not ops & {"aten.gelu.default", "kiln_examples.wave.default"}
    assert len(made.replaced[0].places) == 2
    assert checked(made) == ["engine"]


def test_a_built_in_operator_by_a_converter_of_one_s_own() -> None:
    one = Replacement("operator", "aten.gelu.default", "converter", "replace_examples:swish_on_net")
    with pytest.raises(ReplaceRefused, match=r"misses \['self', 'approximate'\]"):
        traced("plain", one)
    one = Replacement("operator", "aten.gelu.default", "converter", "replace_examples:gelu_on_net")
    made = traced("plain", one)
    planned = plan_job(made.program, BuildJob(RTX, PROFILES, replace=(one,), search_path=HERE))
    assert planned.networks[0] is not None
    assert "ERF" in [layer.attributes.get("op") for layer in planned.networks[0].layers]
    assert checked(made, one) == ["engine"]


def test_a_function_by_another() -> None:
    one = Replacement("function", "replace_examples:swish", "with", "torch.nn.functional:silu")
    made = traced("plain", one)
    assert "aten.silu.default" in {node.op for node in made.program.graph.nodes}
    assert checked(made) == ["engine"]


def test_a_function_by_a_converter() -> None:
    one = Replacement(
        "function", "replace_examples:swish", "converter", "replace_examples:swish_on_net"
    )
    made = traced("plain", one)
    ops = {node.op for node in made.program.graph.nodes}
    assert "kiln_replaced.replace_examples__swish.default" in ops
    assert checked(made, one) == ["engine"]


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        ("module blocks.2 with fused", "unknown_module", "blocks.0"),
        ("module Blok with fused", "unknown_module", "Block"),
        ("module act with fused", "unknown_module", "blocks.0.act"),
        ("module Block with not_a_module", "factory", "a str"),
        ("module *.act with fused", "factory", "blocks.0.act"),
        ("operator aten.gleu with gelu_by_erf", "unknown_operator", "aten.gelu.default"),
        ("operator kiln_examples.wav converter wave_on_net", "unknown_operator", "wave.default"),
        ("operator kiln_examples.wave converter wave_misnamed", "converter", "scale"),
        (
            "operator kiln_examples.wave converter wave_on_net",
            "unknown_operator",
            "aten.linear.default",
        ),
        ("operator aten.tan converter wave_on_net", "converter", "schema"),
        ("function replace_examples:plain_wave with swish", "unknown_function", "never calls"),
    ],
)
def test_what_does_not_fit_is_refused(said: str, code: str, text: str) -> None:
    kind, pattern, way, by = said.split()
    replacement = Replacement(kind, pattern, way, f"replace_examples:{by}")
    with pytest.raises(ReplaceRefused) as refused:
        traced("plain", replacement)
    assert refused.value.code == code
    assert text in str(refused.value)


def test_a_plugin_for_tensorrt_and_none_for_tensorrt_rtx() -> None:
    one = Replacement("operator", "kiln_examples.wave", "plugin", "Wave@1")
    made = traced("model", one)
    with pytest.raises(ReplaceRefused, match="TensorRT-RTX has no plugins"):
        checked(made, one)
    trt = Target("trt", ("sm_90",))
    assert checked(made, one, target=trt) == ["engine"]
    planned = plan_job(made.program, BuildJob(trt, PROFILES, replace=(one,), search_path=HERE))
    network = planned.networks[0]
    assert network is not None
    (layer,) = [layer for layer in network.layers if layer.kind == "plugin"]
    assert (layer.attributes["name"], layer.attributes["fields"]) == ("Wave", {"scale": 2.0})
    assert layer.kind in KINDS


@pytest.mark.parametrize(
    "value",
    [{}, {"module": "a"}, {"module": "a", "with": 3}, {"module": "a", "operator": "b"},
     {"module": "a", "converter": "b:c"}, {"function": "a:b", "plugin": "c"}, []],
)  # fmt: skip
def test_a_malformed_replacement(value: object) -> None:
    with pytest.raises(FormatError):
        Replacement.from_json(value)


def test_json_round_trip() -> None:
    assert Replacement.from_json(WAVE.to_json()) == WAVE


class TestMultiheadAttention:
    @pytest.mark.parametrize("batch_first", [True, False])
    @pytest.mark.parametrize("kwargs", [{}, {"kdim": 6, "vdim": 10}, {"bias": False}])
    @pytest.mark.parametrize("average", [True, False])
    def test_same_numbers(self, batch_first: bool, kwargs: dict[str, int], average: bool) -> None:
        torch.manual_seed(1)
        old = nn.MultiheadAttention(16, 4, batch_first=batch_first, **kwargs).eval()
        new = multihead_attention(old)
        q = torch.randn(3, 5, 16)
        k, v = torch.randn(3, 7, old.kdim), torch.randn(3, 7, old.vdim)
        padding = torch.zeros(3, 7, dtype=torch.bool)
        padding[1, 4:] = True
        mask = torch.randn(5, 7)
        if not batch_first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        for given in (
            {},
            {"key_padding_mask": padding},
            {"attn_mask": mask},
            {"attn_mask": mask > 1},
            {"attn_mask": torch.randn(12, 5, 7), "key_padding_mask": padding.float()},
            {"need_weights": False},
        ):
            want = old(q, k, v, average_attn_weights=average, **given)
            got = new(q, k, v, average_attn_weights=average, **given)
            torch.testing.assert_close(got, want)

    def test_without_a_batch(self) -> None:
        old = nn.MultiheadAttention(16, 4).eval()
        x = torch.randn(5, 16)
        torch.testing.assert_close(multihead_attention(old)(x, x, x), old(x, x, x))

    def test_one_attention_a_layer(self) -> None:
        one = Replacement(
            "module", "MultiheadAttention", "with", "compiler.recipes.attention:multihead_attention"
        )
        made = traced("encoder", one, shape=("b", "s", 16))
        ops = [node.op for node in made.program.graph.nodes]
        assert ops.count("aten.scaled_dot_product_attention.default") == 2
        assert not [op for op in ops if "softmax" in op or "_transformer" in op]
        assert made.replaced[0].places == ("layers.layers.0.self_attn", "layers.layers.1.self_attn")
        assert checked(made) == ["engine"]
