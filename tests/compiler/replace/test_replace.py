"""Replacing pieces of a model: what is swapped, what is refused, and that goldens stay the original's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compiler.build.aids import Aids
from compiler.build.builder import BuildRefused
from compiler.build.evaluated import InaccurateBuild, evaluate_partition
from compiler.build.plugins import missing_plugins, refused_nodes, register_plugins
from compiler.build.replay import ReplayRefused
from compiler.build.segments import build_segment
from compiler.goldens.goldens import GoldenSource
from compiler.network.kinds import KINDS
from compiler.network.kinds.plugin import has_plugins, plugins_of
from compiler.pipeline import (
    BuildRequest,
    Traced,
    TraceRequest,
    build_program,
    convert_program,
    trace_model,
)
from compiler.recipes.attention import multihead_attention
from compiler.replace.apply import Replacement, ReplaceRefused
from compiler.trace.load import ModelRefused
from compiler.trace.source import Source
from enginebundle.errors import FormatError
from enginebundle.format.spec import Profile, Range, Target, TensorSpec

HERE = (str(Path(__file__).parent),)
RTX = Target("rtx", ("sm_89",))
PROFILES = (Profile("p", (("b", Range(1, 4, 8)),)),)
WIDE = (Profile("p", (("b", Range(1, 4, 8)), ("s", Range(2, 6, 12)))),)
WAVE = Replacement("operator", "kiln_examples::wave", "converter", "replace_examples:wave_on_net")


def traced(model: str, *replace: Replacement, shape: tuple[int | str, ...] = ("b", 8)) -> Traced:
    job = TraceRequest(
        Source(f"replace_examples:{model}", search_path=HERE),
        (TensorSpec("x", "float32", shape),),
        WIDE if "s" in shape else PROFILES,
        GoldenSource(seed=0, cases=2),
        replace=replace,
    )
    return trace_model(job)


def checked(made: Traced, *replace: Replacement, target: Target = RTX) -> list[str]:
    """Kinds of the segments, after the networks' numbers were held against the goldens."""
    converted = convert_program(
        made.program, BuildRequest(target, PROFILES, replace=replace, search_path=HERE)
    )
    evaluate_partition(made.program, converted.parts, converted.networks, made.goldens, "fp32", {})
    return [segment.kind for segment in converted.parts.segments]


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
    converted = convert_program(made.program, BuildRequest(RTX, PROFILES))
    (kept,) = converted.parts.report.kept
    assert (kept.op, kept.reason.code) == ("kiln_examples.wave.default", "no_converter")


def test_a_wrong_converter_does_not_pass() -> None:
    made = traced("model", WAVE)
    wrong = Replacement("operator", WAVE.pattern, "converter", "replace_examples:wrong_wave_on_net")
    with pytest.raises(InaccurateBuild, match=r"kiln_examples\.wave"):
        checked(made, wrong)


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("wave_that_reads_past", "gather of wave_1: gather: index outside 0..7 ("),
        ("wave_of_five_rows", "reshape of wave_1: RuntimeError: shape '[5, 8]' is invalid for"),
        ("wave_times_itself", "matmul of wave_1: RuntimeError: "),
    ],
)
def test_a_converter_whose_layers_torch_can_not_compute(by: str, why: str) -> None:
    made = traced("model", WAVE)
    own = Replacement("operator", WAVE.pattern, "converter", f"replace_examples:{by}")
    with pytest.raises(InaccurateBuild) as caught:
        checked(made, own)
    assert f"golden 'p-min' can't be computed: {why}" in caught.value.message
    assert "(kiln_examples.wave.default at " in caught.value.message
    assert caught.value.code == "evaluation"
    assert "torch_executed_ops" in caught.value.remedy


def test_it_builds_for_real() -> None:
    made = traced("model", WAVE)
    job = BuildRequest(
        RTX, PROFILES, replace=(WAVE,), search_path=HERE, require_full_compilation=True
    )
    built = build_program(made.program, job, made.goldens)
    assert built.segments[0].engine


def test_what_no_bundle_can_call_is_no_torch_segment() -> None:
    made = traced("model", WAVE)
    with pytest.raises(Exception, match="has to run in torch") as refused:
        build_program(made.program, BuildRequest(RTX, PROFILES), made.goldens)
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
    with pytest.raises(ReplaceRefused, match=r"lacks \['self', 'approximate'\]"):
        traced("plain", one)
    one = Replacement("operator", "aten.gelu.default", "converter", "replace_examples:gelu_on_net")
    made = traced("plain", one)
    converted = convert_program(
        made.program, BuildRequest(RTX, PROFILES, replace=(one,), search_path=HERE)
    )
    assert converted.networks[0] is not None
    assert "ERF" in [layer.attributes.get("op") for layer in converted.networks[0].layers]
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
    converted = convert_program(
        made.program, BuildRequest(trt, PROFILES, replace=(one,), search_path=HERE)
    )
    network = converted.networks[0]
    assert network is not None
    (layer,) = [layer for layer in network.layers if layer.kind == "plugin"]
    assert (layer.attributes["name"], layer.attributes["fields"]) == ("Wave", {"scale": 2.0})
    assert layer.kind in KINDS


PLUGIN = Replacement("operator", "kiln_examples.wave", "plugin", "Wave@1")


@pytest.mark.parametrize(
    ("target", "kind"), [(RTX, "engine"), (Target("torch", ("cpu",)), "torch_graph")]
)
def test_without_plugins_the_operator_is_written_out_and_the_report_says_so(
    target: Target, kind: str
) -> None:
    made = traced("model", PLUGIN)
    assert "kiln_examples.wave.default" in {node.op for node in made.program.graph.nodes}
    assert made.plain is not None
    assert "aten.sin.default" in {node.op for node in made.plain.graph.nodes}
    job = BuildRequest(target, PROFILES, replace=(PLUGIN,), search_path=HERE)
    built = build_program(made.program, job, made.goldens, plain=made.plain)
    assert [segment.kind for segment in built.segments] == [kind]
    assert built.segments[0].plugins == ()
    assert built.evaluated is not None
    assert built.evaluated.worst <= 1
    told = built.report["plugins_missing"]["kiln_examples.wave.default"]
    assert told.startswith(f"{target} has no plugins; computed by PyTorch's own operators")


def test_an_operator_that_can_t_be_written_out_is_refused_where_there_are_no_plugins() -> None:
    one = Replacement("operator", "kiln_examples.opaque", "plugin", "Opaque@1")
    made = traced("opaque_model", one)
    assert made.plain is None
    job = BuildRequest(Target("torch", ("cpu",)), PROFILES, replace=(one,), search_path=HERE)
    with pytest.raises(
        BuildRefused, match=r"kiln_examples\.opaque\.default .* has to run in torch"
    ):
        build_program(made.program, job, made.goldens, plain=made.plain)


def test_an_operator_of_pytorch_s_own_needs_no_writing_out() -> None:
    one = Replacement("operator", "aten.gelu.default", "plugin", "Gelu@2@mine")
    assert traced("plain", one).plain is None


def test_a_network_names_its_plugins_and_a_process_those_it_lacks() -> None:
    made = traced("model", PLUGIN)
    job = BuildRequest(Target("trt", ("sm_90",)), PROFILES, replace=(PLUGIN,), search_path=HERE)
    (network,) = convert_program(made.program, job).networks
    assert network is not None
    assert plugins_of(network) == ("Wave@1",)
    missing = missing_plugins((PLUGIN, WAVE))
    assert missing.keys() == {"kiln_examples.wave.default"}
    refusal = missing["kiln_examples.wave.default"]
    assert refusal.code == "plugin"
    assert "expected the TensorRT plugin 'Wave@1' to be registered" in refusal.detail
    (node,) = refused_nodes(made.program.graph, missing)
    assert "wave" in node


def test_an_engine_holds_the_kernels_of_ahead_of_time_plugins_and_needs_none() -> None:
    one = Replacement("operator", "kiln_examples.wave", "plugin", "mine::wave")
    job = BuildRequest(Target("trt", ("sm_90",)), PROFILES, replace=(one,), search_path=HERE)
    (network,) = convert_program(traced("model", one).program, job).networks
    assert network is not None
    assert (plugins_of(network), has_plugins(network)) == ((), True)
    assert (
        "10.6 has no ahead-of-time plugins"
        in missing_plugins((one,))["kiln_examples.wave.default"].detail
    )


def test_an_engine_with_plugins_can_t_be_held_to_tactics_that_no_key_tells() -> None:
    made = traced("model", PLUGIN)
    job = BuildRequest(Target("trt", ("sm_90",)), PROFILES, replace=(PLUGIN,), search_path=HERE)
    converted = convert_program(made.program, job)
    with pytest.raises(ReplayRefused, match="an engine with plugins is not kept by its key"):
        build_segment(
            None, converted.parts.segments[0], converted.networks[0], made.program, job, None,
            Aids(proved={}),
        )  # fmt: skip


def test_functions_that_register_plugins_are_called_and_their_failures_named() -> None:
    import replace_examples

    register_plugins(["replace_examples:register"], HERE)
    assert replace_examples.registered
    with pytest.raises(ModelRefused, match="no such library"):
        register_plugins(["replace_examples:register_badly"], HERE)


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
