"""Assertions are left out of an engine and named; real branches are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gaussian_nll_loss
from torch.utils._pytree import tree_flatten

from compiler.trace.export import TraceRefused, trace
from compiler.trace.truths import LIMIT, find_truths
from tests.compiler.small_models import profile, spec
from tests.opinfo.judge import Whole, examine
from tests.opinfo.samples import Call, Sample

F = "float32"
X, Y, V = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3, 4)


class Calls(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def traced(function: Callable[..., Any]) -> torch.export.ExportedProgram:
    return trace(Calls(function), (spec("x", F, "b", 4),), (profile(b=(1, 2, 8)),))


def refusal(function: Callable[..., Any]) -> TraceRefused:
    with pytest.raises(TraceRefused) as caught:
        traced(function)
    assert caught.value.code == "data_dependent"
    return caught.value


def asserts(x: Tensor) -> Tensor:
    assert (x < 100).all(), f"too large: {x.max()}"
    return x + 1


def raises(x: Tensor) -> Tensor:
    if not torch.isfinite(x).all() or x.sum() != x.sum():
        message = f"bad {x}"
        raise ValueError(message)
    return x + 1


def raises_else(x: Tensor) -> Tensor:
    if (x < 100).all():
        return x + 1
    else:  # noqa: RET505  what is tested
        raise ValueError("too large")


def both(x: Tensor) -> Tensor:
    return raises(asserts(x)) - 1


def helped(x: Tensor) -> Tensor:
    def deeper(y: Tensor) -> Tensor:
        return asserts(y)

    return deeper(x)


def of_each_row(x: Tensor) -> Tensor:
    for row in x.unbind(1):
        asserts(row)
    return x + 1


def writes(x: Tensor) -> Tensor:
    x.clamp_(min=0)
    if (x < 0).any():
        raise ValueError("negative")
    return x + 1


def constant(x: Tensor) -> Tensor:
    if torch.tensor(True):
        x = x + 1
    return asserts(x) - 1


@pytest.mark.parametrize(
    ("function", "checks"),
    [(asserts, 1), (raises, 1), (raises_else, 1), (both, 2), (helped, 1), (of_each_row, 1),
     (writes, 1), (constant, 1)],
)  # fmt: skip
def test_checks_are_left_out_and_named(
    function: Callable[..., Any], checks: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "compiler.trace.truths"):
        exported = traced(function)
    said = [r.getMessage() for r in caplog.records if r.name == "compiler.trace.truths"]
    assert len(said) == checks
    assert all("does not check this assertion" in one and "test_truths.py:" in one for one in said)
    x = torch.randn(7, 4)
    torch.testing.assert_close(exported.module()(x=x.clone()), function(x.clone()))
    bad = torch.full((2, 4), torch.inf)
    torch.testing.assert_close(exported.module()(x=bad), bad + 1)


def test_the_warning_quotes_the_line(caplog: pytest.LogCaptureFixture) -> None:
    traced(raises_else)
    assert "in raises_else: `if (x < 100).all():`" in caplog.text


def test_examples_that_fail_a_check_are_no_obstacle() -> None:
    def positive(x: Tensor) -> Tensor:
        assert (x > 0).all()
        assert (x < 100).all()
        return x.log()

    made = traced(positive)
    torch.testing.assert_close(made.module()(x=V), V.log())
    with pytest.raises(AssertionError):
        positive(X - 1)


def branches(x: Tensor) -> Tensor:
    asserts(x)
    if x.sum() > 0:
        return x
    return x * 2


def loops(x: Tensor) -> Tensor:
    while (x > 0).any():
        x = x - 1
    return x


def fails_later(x: Tensor) -> Tensor:
    if (x > 100).any():
        x = x[:, :3]
    return x + torch.ones(4)


def checked_later(x: Tensor) -> Tensor:
    """The second read raises by what the first one's other branch did."""
    if (x < 100).all():
        x = x.clamp(min=0)
    if (x < 0).any():
        raise ValueError("negative")
    return x


def raises_for_some_sizes(x: Tensor) -> Tensor:
    if (x > 100).any():
        if x.shape[0] > 3:
            raise ValueError("many large")
        return x / 2
    return x


def caught(x: Tensor) -> Tensor:
    try:
        return asserts(x)
    except AssertionError:
        return x / 2


def stored(x: Tensor) -> Tensor:
    if (large := bool((x > 100).any())) and x.shape[1] > 3:
        raise ValueError("large")
    return x + large


def one_of_two(x: Tensor) -> Tensor:
    if not ((x < 100).all() or (x > 0).all()):
        raise ValueError("large or negative")
    return x


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (branches, "if x.sum() > 0:"),
        (loops, "while (x > 0).any():"),
        (fails_later, "if (x > 100).any():"),
        (checked_later, "if (x < 100).all():"),
        (raises_for_some_sizes, "if (x > 100).any():"),
        (caught, "assert (x < 100).all(), "),
        (stored, "if (large := bool((x > 100).any())) and x.shape[1] > 3:"),
    ],
)
def test_what_is_not_a_check_is_refused(function: Callable[..., Any], line: str) -> None:
    error = refusal(function)
    assert "test_truths.py:" in error.message
    assert f"`{line}" in error.message


def test_either_of_two_truths_that_would_do() -> None:
    """The first is an assertion only where the second, asked in its place, does not pass either."""
    assert [t.assertion for t in find_truths(lambda: one_of_two(X))] == [True]
    assert [t.assertion for t in find_truths(lambda: one_of_two(V))] == [False]


def test_too_many_reads() -> None:
    def often(count: int) -> None:
        for _ in range(count):
            asserts(X)

    assert len(find_truths(lambda: often(3))) == 3
    assert find_truths(lambda: often(LIMIT + 1)) == ()


def test_another_way_when_exported_is_refused() -> None:
    def otherwise(x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return asserts(raises(x))
        return raises(asserts(x))

    refusal(otherwise)

    def fewer(x: Tensor) -> Tensor:
        asserts(x)
        return x if torch.compiler.is_exporting() else asserts(x)

    refusal(fewer)


class Counts(nn.Module):
    """Changes itself, and what it is given, at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(()))
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.seen is None:
            self.seen = x.sum()
        self.total += 1
        assert (self.total < 2).all()
        x.mul_(2)
        return x + self.seen


def test_the_model_is_as_it_was() -> None:
    model = Counts()
    made = trace(model, (spec("x", F, "b", 4),), (profile(b=(1, 2, 8)),))
    assert model.total == 0
    torch.testing.assert_close(made.module()(x=X.clone()), X * 2 + X.sum())


def test_bool_is_torchs_own_again() -> None:
    refusal(branches)
    traced(asserts)
    assert "__bool__" not in vars(torch.Tensor)
    assert bool(torch.ones(1)) is True


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("var", [0.5, V, V[:, :1], V[:, 0]])
def test_gaussian_nll_loss_is_one_engines_work(var: Any, full: bool, reduction: str) -> None:
    leaves, form = tree_flatten((X, (Y, var), {"full": full, "reduction": reduction}))
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    call = Call(gaussian_nll_loss, leaves, form)
    found = examine(Sample("gaussian_nll_loss", F, 0, call, tensors))
    assert isinstance(found, Whole), found
