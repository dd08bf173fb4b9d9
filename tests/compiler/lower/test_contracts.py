"""Contracts of passes: the right passes keep theirs, and each wrong one is caught by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from compiler.convert.library import REGISTRY
from compiler.lower import DEFAULT_KEEP, PIPELINE, LowerOptions, LowerRefused, Pass, lower
from compiler.lower.conditions import no_dead_calls, values_known
from compiler.lower.contracts import SWITCH, BrokenContract
from compiler.lower.decompose import DECOMPOSE
from compiler.lower.graphs import copied
from compiler.lower.noops import no_assertions
from compiler.lower.runner import run_passes
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler import small_models as models
from tests.compiler.small_models import profile, spec

F = "float32"
aten = torch.ops.aten
Run = Callable[[ExportedProgram, LowerOptions], ExportedProgram]


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def experts(rows: torch.Tensor, weight: torch.Tensor, ends: torch.Tensor) -> Any:
    import transformers.integrations.moe  # noqa: F401  registers the operator

    return torch.ops.transformers.grouped_mm_fallback(rows, weight, offs=ends)


def through_a_tensor(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-(torch.tensor(x.shape[0]) * 2).item(), 1)


def normalized_twice() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)]
    return nn.Sequential(*layers).eval()


@dataclass(frozen=True)
class Case:
    """A model on which a pass has something to do, and the condition that fails if it does not."""

    condition: str
    model: nn.Module
    inputs: tuple[TensorSpec, ...]
    wrong: str
    """What the message names."""
    keep: frozenset[str] = DEFAULT_KEEP
    precision: str = "fp32"

    def run(self, passes: tuple[Pass, ...]) -> ExportedProgram:
        exported = trace(self.model.eval(), self.inputs, (profile(b=(1, 2, 8)),))
        return run_passes(exported, passes, LowerOptions(self.keep, self.precision))[0]


def case(condition: str, function: Callable[..., Any], *inputs: TensorSpec, wrong: str) -> Case:
    return Case(condition, Function(function), inputs, wrong)


NORM = "aten._native_batch_norm_legit_no_training.default"
CASES = {
    "decompose": Case("decomposed", nn.Linear(4, 4), (spec("input", F, "b", 4),),
                      "node linear calls aten.linear.default", keep=frozenset()),
    "spell_as_aten": case("no_library_operators", experts, spec("rows", F, 5, 8),
                          spec("weight", F, 3, 8, 4), spec("ends", "int32", 3),
                          wrong="calls transformers.grouped_mm_fallback.default"),
    "resolve_strides": case("strides_resolved", lambda x: x.as_strided((2, 2), (1, 2)),
                            spec("x", F, 4), wrong="calls aten.as_strided"),
    "remove_asserts": case("no_assertions", torch.sin, spec("x", F, "b", 4),
                           wrong="calls aten._functional_assert_async.msg"),
    "read_numbers": case("no_sizes_read_back", through_a_tensor, spec("x", F, "b"),
                         wrong="reads a number computed from sizes back from"),
    "bound_sizes": case("sizes_bounded", torch.nonzero, spec("x", F, 4, 3),
                        wrong="node nonzero (aten.nonzero.default)"),
    "narrow_positions": case("no_double_positions",
                             lambda x: x + torch.arange(x.shape[0], dtype=torch.float64).sin().float()[:, None],
                             spec("x", F, "b", 4), wrong="computes in float64"),
    "remove_noops": case("no_noops", lambda x: x.clone() * 2, spec("x", F, "b", 4),
                         wrong="node clone (aten.clone.default) is its argument inputs_0"),
    "view_whole_index": case("no_whole_index", lambda x: x[torch.arange(x.shape[0])] * 2,
                             spec("x", F, "b", 4), wrong="node index (aten.index.Tensor)"),
    "drop_unread": case("no_unread_vectors", lambda x: torch.linalg.svd(x)[1], spec("x", F, 3, 3),
                        wrong="(aten._linalg_svd.default) has compute_uv=True"),
    "fold_batch_norm": Case("batch_norms_folded", models.Convolution(),
                            (spec("x", F, "b", 3, 8, 8),), "follows the convolution",
                            keep=frozenset({NORM})),
    "share_equal_calls": case("no_equal_calls", lambda x: x.sin() + x.sin(), spec("x", F, "b", 4),
                              wrong="nodes sin and sin_1 are equal calls of aten.sin.default"),
    "fold_constants": case("constants_folded", lambda x: x + torch.arange(4).cos(),
                           spec("x", F, "b", 4), wrong="(aten.cos.default) depends on weights"),
    "cast": Case("heavy_calls_cast", models.Mlp(), (spec("x", F, "b", 8),),
                 "(aten.linear.default) computes in torch.float32", precision="fp16"),
    "complex_pairs": case("complex_paired", lambda x: torch.fft.rfft(x).abs(), spec("x", F, "b", 8),
                          wrong="is complex, and a rule takes it"),
}  # fmt: skip


def leave(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
    return exported


def with_run(name: str, run: Run) -> tuple[Pass, ...]:
    """The pipeline with one pass that does something else."""
    return tuple(replace(one, run=run) if one.name == name else one for one in PIPELINE)


def after(name: str, change: Callable[[torch.fx.Graph], object]) -> tuple[Pass, ...]:
    """The pipeline with one pass that changes the graph when it is done."""
    (right,) = [one for one in PIPELINE if one.name == name]

    def run(exported: ExportedProgram, options: LowerOptions) -> ExportedProgram:
        made = right.run(exported, options)
        change(made.graph)
        return made

    return with_run(name, run)


def first(graph: torch.fx.Graph, target: Any) -> torch.fx.Node:
    return next(node for node in graph.nodes if node.target is target)


def assert_sine(graph: torch.fx.Graph) -> None:
    """An assertion whose token something reads: it is not a dead call."""
    sin = first(graph, aten.sin.default)
    with graph.inserting_after(sin):
        made = graph.call_function(aten._functional_assert_async.msg, (sin, "", sin))
    made.meta["val"] = sin.meta["val"]
    sin.replace_all_uses_with(made, lambda user: user is not made)


def test_every_pass_has_a_case() -> None:
    assert list(CASES) == [one.name for one in PIPELINE]


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_pass_is_caught(name: str) -> None:
    one = CASES[name]
    # An assertion that nothing reads is a dead call, which no pass has to remove.
    wrong = after(name, assert_sine) if name == "remove_asserts" else with_run(name, leave)
    with pytest.raises(BrokenContract) as caught:
        one.run(wrong)
    assert str(caught.value).startswith(f"pass {name} does not ensure {one.condition} (")
    assert one.wrong in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_the_pass_itself_is_not(name: str) -> None:
    CASES[name].run(PIPELINE)


@pytest.mark.parametrize(
    ("name", "precision", "keep"),
    [
        *itertools.product(models.REAL, ["fp32", "fp16"], [REGISTRY.ops()]),
        ("gpt2", "fp16", DEFAULT_KEEP),  # the rest of these is lowered so in test_lower.py
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_real_models_break_no_contract(name: str, precision: str, keep: frozenset[str]) -> None:
    lower(models.traced(name)[0], keep, precision)


def test_two_batch_norms_fold_into_one_convolution() -> None:
    model = normalized_twice()
    for norm in (model[1], model[2]):  # type: ignore[index]
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    for keep in (DEFAULT_KEEP | {NORM}, DEFAULT_KEEP | {"aten.batch_norm.default"}):
        one = Case("", model, (spec("input", F, "b", 3, 8, 8),), "", keep)
        lowered = one.run(PIPELINE)
        calls = [str(n.target) for n in lowered.graph.nodes if n.op == "call_function"]
        assert calls == ["aten.conv2d.default"]
        x = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(lowered.module()(input=x), model(x), rtol=1e-5, atol=1e-5)


def test_a_pass_may_not_change_the_dtype_of_an_output() -> None:
    def keep_half(graph: torch.fx.Graph) -> None:
        (output,) = [node for node in graph.nodes if node.op == "output"]
        (cast,) = output.args[0]
        output.args = ((cast.args[0],),)

    with pytest.raises(BrokenContract) as caught:
        CASES["cast"].run(after("cast", keep_half))
    assert str(caught.value) == (
        "after pass cast, output 0 is a torch.float16; expected output 0 is a torch.float32"
    )


def test_a_weight_kept_in_float32_only_to_be_cast() -> None:
    def widen(exported: ExportedProgram, options: LowerOptions) -> ExportedProgram:
        (right,) = [one for one in PIPELINE if one.name == "cast"]
        made = right.run(exported, options)
        name = "layers.0.weight"
        (holder,) = [s.arg.name for s in made.graph_signature.input_specs if s.target == name]
        (node,) = [n for n in made.graph.nodes if n.name == holder]
        with made.graph.inserting_before(next(iter(node.users))):
            cast = made.graph.call_function(
                aten._to_copy.default, (node,), {"dtype": torch.float16}
            )
        cast.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(cast, lambda user: user is not cast)
        made.state_dict[name] = nn.Parameter(made.state_dict[name].detach().float())
        return made

    with pytest.raises(
        BrokenContract, match=r"pass cast does not ensure weights_cast .* stored in"
    ):
        CASES["cast"].run(with_run("cast", widen))


def test_a_pass_may_not_change_the_given_program() -> None:
    def edit(exported: ExportedProgram, _: LowerOptions) -> ExportedProgram:
        first(exported.graph, aten.sin.default).target = aten.cos.default
        return copied(exported)

    with pytest.raises(BrokenContract, match="pass decompose changed the program that was given"):
        CASES["share_equal_calls"].run(with_run("decompose", edit))


def test_a_pass_may_not_break_what_a_later_one_requires() -> None:
    with pytest.raises(BrokenContract) as caught:
        CASES["share_equal_calls"].run(after("read_numbers", assert_sine))
    assert str(caught.value).startswith("pass read_numbers breaks no_assertions (")
    assert "which remove_asserts ensured and bound_sizes requires: node " in str(caught.value)


def test_a_pass_that_runs_too_early_is_caught() -> None:
    left = tuple(one for one in after("decompose", assert_sine) if one.name != "remove_asserts")
    with pytest.raises(BrokenContract, match=r"pass read_numbers requires no_assertions \("):
        CASES["share_equal_calls"].run(left)


def test_a_call_that_changes_its_arguments_is_refused_even_unchecked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SWITCH)

    def in_place(graph: torch.fx.Graph) -> None:
        first(graph, aten.sin.default).target = aten.sin_.default

    with pytest.raises(LowerRefused) as caught:
        CASES["share_equal_calls"].run(after("remove_noops", in_place))
    assert caught.value.code == "invalid"
    assert caught.value.message == (
        "after pass remove_noops, node sin (aten.sin_.default) changes its arguments"
    )


def test_a_dead_call_is_found() -> None:
    exported = trace(Function(torch.sin), (spec("x", F, 4),), (profile(),))
    options = LowerOptions(DEFAULT_KEEP)
    assert no_dead_calls(exported, options) is None
    sin = first(exported.graph, aten.sin.default)
    with exported.graph.inserting_before(sin):
        exported.graph.call_function(aten.cos.default, (sin.args[0],)).meta["val"] = None
    assert no_dead_calls(exported, options) == ("nothing reads node cos_default (aten.cos.default)")


def test_earlier_passes_ensure_what_later_ones_require() -> None:
    # Export gives every value; dead calls are removed after every pass.
    ensured = {values_known, no_dead_calls}
    for one in PIPELINE:
        assert set(one.requires) <= ensured, one.name
        ensured |= set(one.ensures)
    assert no_assertions in ensured
    assert PIPELINE[0] is DECOMPOSE


def test_conditions_are_stated() -> None:
    for one in PIPELINE:
        for condition in (*one.requires, *one.ensures):
            assert (condition.__doc__ or "").partition("\n")[0].endswith("."), condition


@pytest.mark.parametrize("value", [None, "", "0"])
def test_checks_are_off_unless_asked_for(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(SWITCH)
    else:
        monkeypatch.setenv(SWITCH, value)
    CASES["share_equal_calls"].run(with_run("share_equal_calls", leave))
