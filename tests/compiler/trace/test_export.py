"""Tracing: symbolic sizes, what torch fixes or ties silently, and refusals that name the line."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from compiler.refused import Refused
from compiler.trace.arguments import user_inputs
from compiler.trace.examples import example_sizes, make_examples, resized
from compiler.trace.export import TraceRefused, trace
from compiler.trace.guards import input_symbols
from enginebundle.format.spec import Range
from tests.compiler import small_models as models
from tests.compiler.small_models import profile, spec

F = "float32"


def refusal(*args: object) -> TraceRefused:
    with pytest.raises(TraceRefused) as caught:
        trace(*args)  # type: ignore[arg-type]
    assert isinstance(caught.value, Refused)
    return caught.value


@pytest.mark.parametrize("name", models.REAL)
def test_real_models_keep_every_declared_dimension(name: str) -> None:
    exported, inputs = models.traced(name)
    symbols = input_symbols(exported, inputs)
    for one, node in user_inputs(exported, inputs):
        assert tuple(symbols.dim(size) for size in node.meta["val"].shape) == one.shape


def test_inputs_that_forward_takes_as_keywords_of_any_name() -> None:
    class Summed(nn.Module):
        def forward(self, x: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
            return x + more["y"] - more["z"].sum(0)

    model = Summed()
    inputs = (spec("z", F, "n", "b"), spec("x", F, "b"), spec("y", F, "b"))
    exported = trace(model, inputs, (profile(b=(2, 3, 8), n=(1, 2, 8)),))
    symbols = input_symbols(exported, inputs)
    for one, node in user_inputs(exported, inputs):
        assert tuple(symbols.dim(size) for size in node.meta["val"].shape) == one.shape
    given = {"z": torch.ones(4, 7), "x": torch.full((7,), 5.0), "y": torch.full((7,), 2.0)}
    assert exported.module()(**given).tolist() == [3.0] * 7
    assert "forward" not in vars(model), "the model is as it was"


def test_an_input_may_be_called_as_what_takes_keywords_of_any_name() -> None:
    class Picked(nn.Module):
        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            return inputs["inputs"] * 2

    exported = trace(Picked(), (spec("inputs", F, "b", 4),), (profile(b=(1, 2, 8)),))
    assert exported.module()(inputs=torch.ones(5, 4)).shape == (5, 4)


def test_derived_dimensions() -> None:
    inputs = (spec("x", F, "b", "2*s"), spec("y", F, "b", "s"))
    exported = trace(models.Doubled(), inputs, (profile(b=(1, 2, 8), s=(1, 8, 64)),))
    got = exported.module()(x=torch.ones(3, 14), y=torch.ones(3, 7))
    assert got["sum"].shape == (3, 7)


def test_a_dimension_that_is_no_line_in_its_symbol() -> None:
    inputs = (spec("x", F, "s", 4), spec("y", F, "s//2", 4))

    class Cut(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x[::2][: y.shape[0]].sum() + y.sum()

    exported = trace(Cut(), inputs, (profile(s=(4, 8, 64)),))
    assert exported.module()(x=torch.ones(6, 4), y=torch.ones(3, 4)) == 24


def test_distinct_tensors_even_from_a_maker_that_gives_one_twice() -> None:
    inputs = (spec("x", F, "b", 4), spec("y", F, "b", 4))

    def maker(symbols: Mapping[str, int]) -> dict[str, torch.Tensor]:
        one = torch.ones(symbols["b"], 4)
        return {"x": one, "y": one}

    exported = trace(models.Difference(), inputs, (profile(b=(1, 2, 8)),), maker)
    got = exported.module()(x=torch.full((3, 4), 5.0), y=torch.ones(3, 4))
    assert torch.equal(got, torch.full((3, 4), 4.0))


def test_example_of_the_wrong_shape_is_refused() -> None:
    inputs = (spec("x", F, "b", 4),)
    error = refusal(nn.ReLU(), inputs, (profile(b=(1, 2, 8)),), lambda _: {"x": torch.ones(3, 4)})
    assert error.code == "examples"


def test_names_of_forward_or_positions() -> None:
    inputs = (spec("left", F, "b", 4), spec("right", F, "b", 4))
    exported = trace(models.Difference(), inputs, (profile(b=(1, 2, 8)),))
    three, one, two = torch.full((2, 4), 3.0), torch.ones(2, 4), torch.full((2, 4), 2.0)
    assert torch.equal(exported.module()(three, one), two)
    swapped = (spec("y", F, "b", 4), spec("x", F, "b", 4))
    exported = trace(models.Difference(), swapped, (profile(b=(1, 2, 8)),))
    assert torch.equal(exported.module()(y=one, x=three), two)
    assert [found.name for found, _ in user_inputs(exported, swapped)] == ["y", "x"]
    assert [node.name for _, node in user_inputs(exported, swapped)] == ["y", "x"]


def test_forward_with_any_number_of_arguments() -> None:
    class Total(nn.Module):
        def forward(self, first: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            return first + sum(rest)

    inputs = tuple(spec(name, F, "b", 4) for name in ("p", "q", "r"))
    exported = trace(Total(), inputs, (profile(b=(1, 2, 8)),))
    assert [node.meta["val"].shape[1] for _, node in user_inputs(exported, inputs)] == [4, 4, 4]
    assert torch.equal(exported.module()(*[torch.ones(3, 4)] * 3), torch.full((3, 4), 3.0))


def test_half_known_names_are_refused() -> None:
    error = refusal(
        models.Difference(), (spec("x", F, "b"), spec("z", F, "b")), (profile(b=(1, 2, 8)),)
    )
    assert "forward of Difference takes (x, y); it has no input named 'z'" in error.message


def test_symbol_without_a_range() -> None:
    error = refusal(nn.ReLU(), (spec("input", F, "n"),), (profile("short", b=(1, 2, 3)),))
    assert "uses the symbol 'n', for which profile short gives no range" in error.message


def test_data_dependent_control_flow_names_the_line() -> None:
    error = refusal(models.Branch(), (spec("x", F, "b", 4),), (profile(b=(1, 2, 8)),))
    assert error.code == "data_dependent"
    assert "small_models.py:" in error.message
    assert "`if x.sum() > 0:`" in error.message
    assert "torch:cpu only if it exports" in error.remedy


def test_unrolled_sequence_is_not_fixed_silently() -> None:
    inputs = (spec("x", F, "b", "s", 8),)
    error = refusal(models.Unrolled(), inputs, (profile(b=(1, 2, 8), s=(4, 8, 16)),))
    assert error.code == "fixed"
    assert "dimension 1 of input 'x' is declared as s, but the model fixes it" in error.message
    assert "specialized it to be a constant" in error.message


def test_symbols_that_the_model_ties() -> None:
    inputs = (spec("x", F, "b", 4), spec("y", F, "c", 4))

    def maker(_: Mapping[str, int]) -> dict[str, torch.Tensor]:
        return {"x": torch.ones(5, 4), "y": torch.ones(6, 4)}

    error = refusal(models.Difference(), inputs, (profile(b=(1, 2, 8), c=(1, 2, 8)),), maker)
    assert "x (5, 4), y (6, 4)" in error.message
    assert "one symbol" in error.remedy


def test_tied_symbols_where_eager_would_run() -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if x.shape[0] + 1 != y.shape[0]:
                return x.sum() - y.sum()
            return x.sum() + y.sum()

    # The example sizes are 5 for b and 6 for c.
    inputs = (spec("x", F, "b"), spec("y", F, "c"))
    error = refusal(Sum(), inputs, (profile(b=(1, 2, 8), c=(1, 2, 8)),))
    assert error.code in ("tied", "guard")
    assert "b" in error.message and "c" in error.message  # noqa: PT018


def test_guard_inside_the_profile_is_quoted() -> None:
    inputs = (spec("x", F, "b", "s"),)
    error = refusal(models.Limited(), inputs, (profile("long", b=(1, 2, 4), s=(1, 8, 100)),))
    assert error.code == "guard"
    assert "s <= 64" in error.message
    assert "profile 'long' breaks at s=65; it holds for s from 1 to 64" in error.message
    trace(models.Limited(), inputs, (profile(b=(1, 2, 4), s=(1, 8, 64)),))


def test_forward_that_fails_in_itself() -> None:
    error = refusal(nn.Linear(3, 3), (spec("input", F, "b", 4),), (profile(b=(1, 2, 8)),))
    assert error.code == "forward"
    assert "with inputs input (5, 4)" in error.message


def test_one_size_profiles_trace_that_size() -> None:
    inputs = (spec("x", F, "b", "s"),)
    exported = trace(models.Limited(), inputs, (profile(b=(1, 1, 1), s=(2, 8, 64)),))
    ((_, node),) = user_inputs(exported, inputs)
    assert node.meta["val"].shape[0] == 1
    assert not isinstance(node.meta["val"].shape[1], int)


def test_example_sizes() -> None:
    inputs = (spec("x", F, "b", "s", 5), spec("y", "int64", "b", "t"))
    sizes = example_sizes(inputs, {"b": Range(1, 1, 8), "s": Range(1, 1, 64), "t": Range(3, 3, 4)})
    assert len({*sizes.values(), 5}) == 4
    assert all(size > 1 for size in sizes.values())
    assert sizes["t"] in (3, 4)
    assert sizes["b"] <= 8


def test_example_sizes_do_not_depend_on_opt() -> None:
    inputs = (spec("x", F, "b", "s"),)
    one = make_examples(inputs, (profile(b=(1, 2, 8), s=(1, 8, 64)),))
    two = make_examples(inputs, (profile(b=(1, 7, 8), s=(1, 63, 64)),))
    assert torch.equal(one["x"], two["x"])


def test_resized_repeats_and_cuts() -> None:
    tensor = torch.arange(6).reshape(2, 3)
    assert resized(tensor, (3, 2)).tolist() == [[0, 1], [3, 4], [0, 1]]
