"""Branches on sizes: a program that is wrong at some size of a profile is refused, with that size."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch._guards import SLoc

from compiler.trace import composites, guards
from compiler.trace.export import TraceRefused, trace
from enginebundle.format.spec import Profile, Range, TensorSpec
from tests.compiler.small_models import Asks, profile, spec

FLOAT = "float32"


class Call(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def refused(function: Callable[..., Tensor], shape: tuple[int | str, ...], **sizes: object) -> str:
    with pytest.raises(TraceRefused) as caught:
        trace(Call(function), (spec("x", FLOAT, *shape),), (profile(**sizes),))
    assert caught.value.code == "guard"
    return caught.value.message


# -- the model's own branches ---------------------------------------------------------------


def test_a_branch_on_odd_and_even_sizes() -> None:
    said = refused(
        lambda x: x * 2 if x.shape[1] % 2 == 0 else x, ("b", "s"), b=(1, 2, 4), s=(2, 8, 64)
    )
    assert "s%2" in said.replace("Mod(s, 2)", "s%2")
    assert "test_guards.py" in said
    assert "32 sizes" in said or "31 sizes" in said


def test_a_branch_that_torch_puts_on_another_input() -> None:
    class Signed(nn.Module):
        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return (ids + (1.0 if mask.shape[1] <= 8 else -1.0)) * mask

    inputs = (spec("ids", FLOAT, "b", "s"), spec("mask", FLOAT, "b", "s"))
    with pytest.raises(TraceRefused, match="breaks at s=9; it holds for s from 2 to 8"):
        trace(Signed(), inputs, (profile(b=(1, 2, 4), s=(2, 4, 64)),))
    trace(Signed(), inputs, (profile(b=(1, 2, 4), s=(2, 4, 8)),))


def test_padding_that_depends_on_the_size() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 4, stride=4)

        def forward(self, wave: Tensor) -> Tensor:
            if wave.shape[-1] % 4:
                wave = F.pad(wave, (0, 4 - wave.shape[-1] % 4))
            return self.conv(wave)

    inputs = (spec("wave", FLOAT, "b", 1, "t"),)
    with pytest.raises(TraceRefused) as caught:
        trace(Padded(), inputs, (profile(b=(1, 2, 4), t=(100, 500, 1000)),))
    assert caught.value.code == "guard"


def test_a_branch_between_the_corners() -> None:
    said = refused(lambda x: x if x.shape[0] != 50 else -x, ("s",), s=(2, 8, 100))
    assert "breaks at s=50" in said


def test_a_branch_on_two_sizes() -> None:
    said = refused(
        lambda x: x if x.shape[0] != x.shape[1] + 3 else -x, ("h", "w"), h=(2, 8, 40), w=(2, 9, 40)
    )
    assert "breaks at h=5, w=2" in said


def test_a_branch_on_a_computed_size() -> None:
    said = refused(
        lambda x: x.flip(0) if (x.shape[0] * 3 + 1) // 7 == 4 else x, ("s",), s=(2, 8, 100)
    )
    assert "test_guards.py" in said


def test_too_many_sizes_are_decided_at_the_corners() -> None:
    def square(x: Tensor) -> Tensor:
        return x if x.shape[0] < 4 * x.shape[1] else -x

    wide = {"h": (4_000, 5_000, 12_000), "w": (4_000, 5_000, 12_000)}
    trace(Call(square), (spec("x", FLOAT, "h", "w"),), (profile(**wide),))
    said = refused(square, ("h", "w"), h=(4_000, 5_000, 90_000), w=(4_000, 5_000, 12_000))
    assert "breaks at h=90000, w=4000" in said


def test_too_many_sizes_for_a_remainder_are_refused() -> None:
    def even(x: Tensor) -> Tensor:
        return x if (x.shape[0] * x.shape[1]) % 2 else -x

    said = refused(even, ("h", "w"), h=(4_000, 5_000, 12_000), w=(4_000, 5_000, 12_000))
    assert "too many sizes" in said


# -- what torch assumes without a guard ------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 3 if x.shape[0] == 1 else x,
        lambda x: x.sum(0) if x.shape[0] > 1 else x[0] - 1,
        lambda x: x if x.shape[0] not in (1, 7) else -x,
    ],
)
def test_a_branch_on_the_size_one(function: Callable[[Tensor], Tensor]) -> None:
    refused(function, ("b", 3), b=(1, 2, 8))


def test_the_size_zero() -> None:
    refused(lambda x: torch.ones(1, 3) if x.shape[0] == 0 else x, ("b", 3), b=(0, 2, 8))


def test_broadcasting_at_one_that_changes_nothing() -> None:
    shared = torch.randn(1, 3)
    trace(Call(lambda x: x + shared), (spec("x", FLOAT, "b", 3),), (profile(b=(1, 2, 8)),))


def test_a_model_that_counts_its_calls_is_as_it_was() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    model = Counting()
    trace(model, (spec("x", FLOAT, "b", 3),), (profile(b=(1, 2, 8)),))
    assert model.scale.tolist() == [1, 1, 1]


# -- a property ------------------------------------------------------------------------------

CONDITIONS: tuple[Callable[[int, int], Callable[[Tensor], bool]], ...] = (
    lambda a, _: lambda x: x.shape[0] <= a,
    lambda a, _: lambda x: x.shape[0] == a,
    lambda a, m: lambda x: x.shape[0] % m == a % m,
    lambda a, m: lambda x: x.shape[0] // m > a // m,
    lambda a, m: lambda x: (x.shape[0] + a) % m < m // 2,
    lambda a, _: lambda x: x.shape[0] * 2 > x.shape[1] + a,
    lambda a, _: lambda x: x.shape[0] == 1 or x.shape[1] == a,
    lambda a, _: lambda x: x.shape[0] <= 15 + a,  # always
    lambda a, _: lambda x: x.shape[0] * x.shape[1] < -a,  # never
)
STEPS: tuple[Callable[[int], Callable[[Tensor], Tensor]], ...] = (
    lambda a: lambda x: F.pad(x, (0, a % 3)),
    lambda a: lambda x: x[: max(x.shape[0] // 2, 1)],
    lambda a: lambda x: x.reshape(-1),
    lambda a: lambda x: torch.cat([x, x[: a % 4 + 1]]),
    lambda a: lambda x: x * (a % 5 + 2),
    lambda a: lambda x: x.cumsum(0),
    lambda a: lambda x: x.flip(0),
)


def generated(seed: int) -> Call:
    """A model with a branch on its sizes between two random steps."""
    choose = random.Random(seed)
    a, m = choose.randrange(1, 14), choose.randrange(2, 6)
    condition = choose.choice(CONDITIONS)(a, m)
    before, then, otherwise = (choose.choice(STEPS)(choose.randrange(20)) for _ in range(3))

    def forward(x: Tensor) -> Tensor:
        taken = condition(x)
        x = before(x)
        return then(x) if taken else otherwise(x)

    return Call(forward)


def wrong_anywhere(seed: int) -> str:
    """Where the exported program of a generated model is wrong: "", or a size; "refused" is right."""
    model = generated(seed)
    bounds = {"h": Range(1, 4, 16), "w": Range(2, 5, 7)}
    inputs = (TensorSpec("x", FLOAT, ("h", "w")),)
    try:
        exported = trace(model, inputs, (Profile("p", tuple(bounds.items())),))
    except TraceRefused:
        return "refused"
    program = exported.module(check_guards=False)
    program._forward_pre_hooks.clear()  # a program that is lowered has none of torch's own checks
    for h in range(1, 17):
        for w in range(2, 8):
            x = torch.randn(h, w)
            want, got = model(x), program(x=x)
            if want.shape != got.shape or not torch.allclose(want, got, atol=1e-5):
                return f"wrong at h={h}, w={w}"
    return ""


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_generated_models_are_right_at_every_size_or_refused(start: int) -> None:
    said = [wrong_anywhere(seed) for seed in range(start, start + 10)]
    assert not [(start + n, text) for n, text in enumerate(said) if text.startswith("wrong")]


@pytest.mark.slow
def test_generated_models_in_number() -> None:
    said = [wrong_anywhere(seed) for seed in range(40, 340)]
    assert not [(40 + n, text) for n, text in enumerate(said) if text.startswith("wrong")]
    assert said.count("") >= 30, "some are right"
    assert said.count("refused") >= 100, "most are not"


def test_what_moves_with_the_rounding_of_its_inputs_may_differ_as_far() -> None:
    """At a size of 1 both multiply in another order, and a sine of large angles shows the last digit."""
    inputs, sizes = (spec("x", FLOAT, "b", 4),), (profile(b=(1, 2, 5)),)

    def sensitive(x: Tensor) -> Tensor:
        return torch.sin(x * 1e3 * 1e3) if x.shape[0] == 1 else torch.sin(x * 1e6)

    def plain(x: Tensor) -> Tensor:
        return torch.sin(x) * 1.01 if x.shape[0] == 1 else torch.sin(x)

    module = trace(Call(sensitive), inputs, sizes).module()
    x = torch.randn(3, 4)
    torch.testing.assert_close(module(x=x), sensitive(x))
    with pytest.raises(TraceRefused, match="at b=1"):
        trace(Call(plain), inputs, sizes)


# -- dimensions that the model fixes or ties --------------------------------------------------


def complaint(
    model: nn.Module,
    inputs: tuple[TensorSpec, ...],
    *tensors: Tensor,
    **ranges: tuple[int, int, int],
) -> guards.Complaint | None:
    """What is said of a program that torch exports with every size left to it."""
    free = dict.fromkeys(range(2), torch.export.Dim.AUTO)
    exported = torch.export.export(model, tensors, dynamic_shapes=tuple(free for _ in tensors))
    return guards.check_dimensions(exported, inputs, (profile(**ranges),), lambda values: False)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Doubled(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, x], 1) + y


class Unrolled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(list(x.unbind(1))).sum(0)


def test_a_size_that_the_model_ties_to_another_input() -> None:
    inputs = (spec("x", FLOAT, "b", "s"), spec("y", FLOAT, "b", "t"))
    found = complaint(
        Sum(), inputs, torch.ones(3, 5), torch.ones(3, 5), b=(1, 3, 4), s=(2, 5, 8), t=(2, 6, 9)
    )
    assert found == guards.Complaint(
        "tied",
        "dimension 1 of input 'y' is declared as t, but the model needs it to be s",
        "declare it as s",
    )


def test_a_size_that_the_model_ties_to_twice_another() -> None:
    inputs = (spec("x", FLOAT, "b", "s"), spec("y", FLOAT, "b", "t"))
    found = complaint(
        Doubled(),
        inputs,
        torch.ones(3, 5),
        torch.ones(3, 10),
        b=(1, 3, 4),
        s=(2, 5, 8),
        t=(4, 10, 20),
    )
    assert found is not None
    assert (found.code, found.remedy) == ("tied", "declare it as 2*s")
    right = (spec("x", FLOAT, "b", "s"), spec("y", FLOAT, "b", "2*s"))
    assert (
        complaint(Doubled(), right, torch.ones(3, 5), torch.ones(3, 10), b=(1, 3, 4), s=(2, 5, 8))
        is None
    )


def test_a_size_that_the_model_fixes() -> None:
    found = complaint(
        Unrolled(), (spec("x", FLOAT, "b", "s"),), torch.ones(3, 5), b=(1, 3, 4), s=(2, 5, 8)
    )
    assert found == guards.Complaint(
        "fixed",
        "dimension 1 of input 'x' is declared as s, but the model fixes it to the example's 5",
        "declare it as a number, or change the code that unrolls over it or compares it with a constant "
        "(a loop in Python over s, a buffer of one size)",
        number=True,
    )


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (lambda n: n < 7, "; it holds for s from 2 to 6"),
        (lambda n: n > 60, "; it holds for s from 61 to 64"),
        (lambda n: n % 30 == 2, "; it holds for s = 2, 32, 62 (3 sizes)"),
        (lambda n: n % 15 == 2, "; it holds for s = 2, 17, 32, 47, 62 (5 sizes)"),
        (lambda n: n % 12 == 2, "; it holds for s = 2, 14, 26, 38, 50, ... (6 sizes)"),
    ],
)
def test_the_sizes_that_remain_are_told(holds: Callable[[int], bool], said: str) -> None:
    size = next(n for n in range(62, 1, -1) if holds(n))
    model = Call(lambda x: x * 2 if holds(x.shape[1]) else x)
    x = spec("x", FLOAT, "b", "s")
    found = complaint(model, (x,), torch.ones(3, size), b=(1, 2, 4), s=(2, 8, 64))
    assert found is not None
    assert found.message.endswith(said)


@pytest.mark.parametrize(
    ("x", "y", "dimension", "line"),
    [
        (("b", 5), (3, 7), "dimension 0 of input 'x' is declared as b", "if x.shape[0] == 3:"),
        ((3, "s"), (3, 7), "dimension 1 of input 'x' is declared as s", "if x.shape[1] == 5:"),
        ((3, "s"), (3, "t"), "dimension 1 of input 'x' is declared as s", "if x.shape[1] == 5:"),
        ((3, 5), (3, "t"), "dimension 1 of input 'y' is declared as t", "if y.shape[1] == 7:"),
        (("b", 5), ("b", "t"), "dimension 0 of input 'x' is declared as b", "if x.shape[0] == 3:"),
    ],
)
def test_the_line_that_fixes_a_size_is_named(
    x: tuple[int | str, ...], y: tuple[int | str, ...], dimension: str, line: str
) -> None:
    lines, start = inspect.getsourcelines(Asks.forward)
    number = start + [text.strip() for text in lines].index(line)
    free = {
        name: {
            axis: torch.export.Dim.AUTO for axis, dim in enumerate(shape) if dim in ("b", "s", "t")
        }
        for name, shape in (("x", x), ("y", y))
    }
    tensors = {"x": torch.ones(3, 5), "y": torch.ones(3, 7)}
    exported = torch.export.export(Asks(), (), tensors, dynamic_shapes=free)
    inputs = (spec("x", FLOAT, *x), spec("y", FLOAT, *y))
    sizes = profile(b=(1, 3, 4), s=(2, 5, 8), t=(2, 7, 9))
    found = guards.check_dimensions(exported, inputs, (sizes,), lambda values: False)
    assert found is not None
    assert (found.code, found.number) == ("fixed", True)
    said = rf"{dimension}, but the model fixes it to the example's \d \(from (.*):{number} in forward\)"
    (file,) = re.fullmatch(said, found.message).groups()
    assert str(inspect.getsourcefile(Asks)).endswith(file)


@pytest.mark.parametrize(
    ("function", "size", "assumed"),
    [
        (lambda x: x if x.shape[1] <= 8 else -x, 5, {"s <= 8": False}),
        (lambda x: x if x.shape[1] > 4 else -x, 3, {"s <= 4": False}),
        (lambda x: x if x.shape[0] == x.shape[1] else -x, 5, {"Ne(b, s)": False}),
        (
            lambda x: x.reshape(-1, 2) if x.shape[1] % 2 == 0 else x,
            4,
            {"Eq(Mod(s, 2), 0)": False, "Eq(Mod(b*s, 2), 0)": True},
        ),
    ],
)
def test_what_torch_assumed_is_told_in_the_users_symbols(
    function: Callable[[Tensor], Tensor], size: int, assumed: dict[str, bool]
) -> None:
    """And whether both answers may lead to the same values: torch's own question of how memory lies."""
    free = dict.fromkeys(range(2), torch.export.Dim.AUTO)
    exported = torch.export.export(Call(function), (torch.ones(3, size),), dynamic_shapes=(free,))
    symbols = guards.input_symbols(exported, (spec("x", FLOAT, "b", "s"),))
    found = {str(one): harmless for one, harmless in guards.conditions(exported, symbols).items()}
    assert {text: found.get(text) for text in assumed} == assumed
    if not any(assumed.values()):
        assert found == assumed


@pytest.mark.parametrize("declared", [("b", 5), ("b", "s")])
def test_a_size_that_was_never_free_names_no_line(declared: tuple[int | str, ...]) -> None:
    exported = torch.export.export(Call(lambda x: x * 2), (torch.ones(3, 5),))
    sizes = profile(b=(1, 3, 4), s=(2, 5, 8))
    found = guards.check_dimensions(
        exported, (spec("x", FLOAT, *declared),), (sizes,), lambda values: False
    )
    assert found is not None
    said = "dimension 0 of input 'x' is declared as b, but the model fixes it to the example's 3"
    assert found.message == said


def fixed(function: Callable[[Tensor], Tensor], shape: tuple[str, ...], x: Tensor) -> str:
    """What is said of a size that the function fixes, after the size itself."""
    composites.install()
    free = dict.fromkeys(range(x.ndim), torch.export.Dim.AUTO)
    exported = torch.export.export(Call(function), (), {"x": x}, dynamic_shapes={"x": free})
    inputs, sizes = (spec("x", FLOAT, *shape),), profile(b=(1, 3, 4), s=(2, 6, 8))
    found = guards.check_dimensions(exported, inputs, (sizes,), lambda values: False)
    assert found is not None
    assert found.code == "fixed"
    return found.message.partition("fixes it to the example's ")[2][1:]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.combinations(x, 3),
        lambda x: torch.combinations(x * 2, 3).sum(0),
        lambda x: torch.combinations(x, 2, with_replacement=True),
        lambda x: torch.combinations(x.flip(0), 4),
    ],
)
def test_a_size_that_is_fixed_in_our_form_of_an_operator_names_no_line_of_ours(
    function: Callable[[Tensor], Tensor],
) -> None:
    assert fixed(function, ("s",), torch.ones(6)) == ""


@pytest.mark.parametrize(
    "file",
    [
        "/home/user/compiler/trace/model.py",
        "/home/user/torch/nn/model.py",
        "compiler/trace/guards.py",
        "/home/user/model.py",
    ],
)
def test_a_users_file_is_named_wherever_it_lies(file: str) -> None:
    names: dict[str, Callable[[Tensor], Tensor]] = {}
    code = "def three(x):\n    return x * 2 if x.shape[0] == 3 else x\n"
    exec(compile(code, file, "exec"), names)
    said = fixed(names["three"], ("b", "s"), torch.ones(3, 6))
    assert re.fullmatch(rf" \(from .*{file[-15:]}:2 in three\)", said)


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (lambda x: x.shape[1] != x.shape[0] + 3, "breaks at b=3, s=6"),
        (lambda x: x.shape[0] * x.shape[1] < 28, "breaks at b=4, s=7"),
        (lambda x: x.shape[1] < 6, "breaks at s=6, as at every other size"),
        (lambda x: x.shape[1] % 7 == 5, "breaks at s=6, as at every other size"),
    ],
)
def test_what_is_said_of_sizes_on_two_symbols_and_where_none_remain(
    holds: Callable[[Tensor], bool], said: str
) -> None:
    model, x = Call(lambda x: x * 2 if holds(x) else x), spec("x", FLOAT, "b", "s")
    found = complaint(model, (x,), torch.ones(3, 5), b=(1, 2, 4), s=(6, 6, 7))
    assert found is not None
    assert found.message.endswith(said)


# -- which guards may be harmless, and who is asked ---------------------------------------------


@pytest.mark.parametrize(
    ("holds", "assumed", "harmless"),
    [
        (lambda b, s: s // 2 == 1, "Ne((s//2), 1)", True),
        (lambda b, s: s // 8 == 0, "Ne((s//8), 0)", True),
        (lambda b, s: s - b == 1, "Ne(-b + s, 1)", True),
        (lambda b, s: s - b == 0, "Ne(-b + s, 0)", True),
        (lambda b, s: s // 2 == 2, "Ne((s//2), 2)", False),
        (lambda b, s: s // 8 == 1, "Eq((s//8), 1)", False),
        (lambda b, s: s % 4 == 0, "Ne(Mod(s, 4), 0)", False),
        (lambda b, s: s % 4 == 2, "Ne(Mod(s, 4), 2)", False),
        (lambda b, s: (b - s) % 4 == 1, "Ne(PythonMod(b - s, 4), 1)", False),
    ],
)
def test_a_model_that_asks_for_one_or_none_may_mean_what_broadcasting_does(
    holds: Callable[[int, int], bool], assumed: str, harmless: bool
) -> None:
    free = dict.fromkeys(range(2), torch.export.Dim.AUTO)
    model, x = Call(lambda x: x * 2 if holds(*x.shape) else x), torch.ones(3, 9)
    exported = torch.export.export(model, (x,), dynamic_shapes=(free,))
    symbols = guards.input_symbols(exported, (spec("x", FLOAT, "b", "s"),))
    found = {str(one): harmless for one, harmless in guards.conditions(exported, symbols).items()}
    assert found == {assumed: harmless}


def asked(
    function: Callable[[Tensor], Tensor], size: int,
    agrees: Callable[[object], bool | None], elsewhere: Callable[[object], bool],
    profiles: tuple[Profile, ...] = (profile(b=(1, 2, 4), s=(2, 6, 9)),),
) -> tuple[guards.Complaint | None, list[object], list[str]]:  # fmt: skip
    """What is said of a function of [b, s], and what `agrees` and `elsewhere` were asked."""
    free = dict.fromkeys(range(2), torch.export.Dim.AUTO)
    exported = torch.export.export(Call(function), (torch.ones(3, size),), dynamic_shapes=(free,))
    sizes: list[object] = []
    conditions: list[str] = []
    found = guards.check_dimensions(
        exported,
        (spec("x", FLOAT, "b", "s"),),
        profiles,
        lambda values: (sizes.append(values), agrees(values))[1],
        lambda condition: (conditions.append(str(condition)), elsewhere(condition))[1],
    )
    return found, sizes, conditions


@pytest.mark.parametrize("answer", [True, False, None])
def test_the_first_and_the_last_size_that_break_a_harmless_guard_are_tried(
    answer: bool | None,
) -> None:
    first, last = {"b": 1, "s": 2}, {"b": 4, "s": 5}

    def one_more(x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] - x.shape[0] == 1 else x

    found, sizes, conditions = asked(one_more, 7, lambda _: True, lambda _: True)
    assert (found, sizes, conditions) == (None, [first, last], [])
    found, sizes, conditions = asked(
        one_more, 7, lambda values: answer if values == last else True, lambda _: False
    )
    assert (sizes, conditions) == ([first, last], [] if answer else ["Ne(-b + s, 1)"])
    assert (found is None) == bool(answer)
    found, sizes, _ = asked(one_more, 7, lambda _: answer, lambda _: True)
    assert (found, sizes) == (None, [first, last] if answer else [first])


def test_only_the_models_own_branches_are_looked_for_elsewhere() -> None:
    def short(x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] <= 8 else x

    found, sizes, conditions = asked(short, 5, lambda _: True, lambda _: True)
    assert (found, sizes, conditions) == (None, [], ["s <= 8"])
    found, sizes, conditions = asked(short, 5, lambda _: True, lambda _: False)
    assert found is not None, "that program and model agree at two sizes says nothing of the others"
    assert (sizes, conditions) == ([], ["s <= 8"])
    found, sizes, conditions = asked(
        lambda x: x.reshape(-1, 2) * 2, 8, lambda _: False, lambda _: True
    )
    assert found is not None, "it was torch that asked"
    assert conditions == []
    assert sizes


def test_every_profile_is_looked_at() -> None:
    """One where the guard holds, or both answers are right, says nothing of the next."""

    def one_more(x: Tensor) -> Tensor:
        return x * 2 if x.shape[1] - x.shape[0] == 1 else x

    holds, agreed = (
        profile("holds", b=(1, 2, 2), s=(5, 6, 7)),
        profile("agreed", b=(1, 1, 1), s=(2, 2, 3)),
    )
    broken, later = (
        profile("broken", b=(2, 2, 3), s=(3, 4, 4)),
        profile("later", b=(4, 4, 4), s=(5, 5, 5)),
    )
    found, sizes, conditions = asked(
        one_more, 7, lambda values: values == {"b": 1, "s": 2}, lambda _: False,
        (holds, agreed, broken, later),
    )  # fmt: skip
    assert found is not None
    assert "which profile 'broken' breaks at b=2, s=3" in found.message
    assert sizes == [{"b": 1, "s": 2}, {"b": 2, "s": 3}]
    found, _, conditions = asked(
        one_more, 7, lambda _: False, lambda _: True, (holds, agreed, broken, later)
    )
    assert (found, conditions) == (None, ["Ne(-b + s, 1)"]), "what holds elsewhere holds for all"


@pytest.mark.parametrize(
    ("holds", "size", "said", "number"),
    [
        (lambda b, s: s <= 8, 5, "s <= 8 at s=9; it holds for s from 2 to 8", False),
        (lambda b, s: s > 3, 5, "s > 3 at s=2; it holds for s from 4 to 9", False),
        (lambda b, s: s // 2 == 3, 6, "Eq((s//2), 3) at s=2; it holds for s from 6 to 7", True),
        (lambda b, s: s // 2 == b, 6, "Eq((s//2), b) at b=1, s=4", False),
        (lambda b, s: s // 4 != 2, 6, "Ne((s//4), 2) at s=8; it holds for s from 2 to 7", False),
    ],
)
def test_a_broken_guard_is_told_with_its_line_its_sizes_and_what_would_help(
    holds: Callable[[int, int], bool], size: int, said: str, number: bool
) -> None:
    found, _, _ = asked(
        lambda x: x * 2 if holds(*x.shape) else x, size, lambda _: False, lambda _: False
    )
    assert found is not None
    condition, _, at = said.partition(" at ")
    place = r" \(from \S*test_guards\.py:\d+ in <lambda>\)"
    wanted = (
        f"the model holds only where {re.escape(condition)}{place}, which profile 'p' breaks at "
        f"{re.escape(at)}"
    )
    assert re.fullmatch(wanted, found.message)
    assert (found.code, found.number) == ("guard", number)
    assert found.remedy == (
        "narrow the profile to sizes that satisfy it, split it into one for each branch with a model of its "
        "own, or change that line"
        + (", without int() around what is a whole number already" if number else "")
    )


def test_a_guard_over_too_many_sizes_is_told_with_its_line_and_what_would_help() -> None:
    found = complaint(
        Call(lambda x: x if x.shape[0] * x.shape[1] % 2 else -x),
        (spec("x", FLOAT, "b", "s"),),
        torch.ones(3, 5),
        b=(4_000, 5_000, 12_000),
        s=(4_000, 5_000, 12_000),
    )
    assert found is not None
    place = r" \(from \S*test_guards\.py:\d+ in <lambda>\)"
    said = (
        rf"the model holds only where Ne\(Mod\(b\*s, 2\), 0\){place}, which can't be checked for all sizes of "
        "profile 'p': there are too many sizes to try"
    )
    assert re.fullmatch(said, found.message)
    assert (found.code, found.remedy) == ("guard", "narrow the profile, or change that line")
    assert not found.number


# -- inputs and their sizes ---------------------------------------------------------------------


class Three(nn.Module):
    def forward(self, x: Tensor, y: Tensor, *, z: Tensor) -> Tensor:
        return x.sum() + y.sum() * 2 + z.sum() * 3


@pytest.mark.parametrize("order", ["xyz", "zyx", "yzx"])
def test_inputs_are_found_by_place_or_by_name(order: str) -> None:
    tensors = {"x": torch.ones(2), "y": torch.ones(3), "z": torch.ones(4)}
    specs = tuple(spec(name, FLOAT, tensors[name].shape[0]) for name in order)

    def found(
        exported: torch.export.ExportedProgram, specs: tuple[TensorSpec, ...]
    ) -> list[object]:
        pairs = guards.user_inputs(exported, specs)
        return [(one.name, node.meta["val"].shape[0]) for one, node in pairs]

    named = torch.export.export(Three(), (), {name: tensors[name] for name in order})
    assert found(named, specs) == [(name, tensors[name].shape[0]) for name in order]
    mixed = torch.export.export(Three(), (tensors["x"], tensors["y"]), {"z": tensors["z"]})
    placed = (spec("first", FLOAT, 2), spec("second", FLOAT, 3), spec("z", FLOAT, 4))
    assert found(mixed, placed) == [("first", 2), ("second", 3), ("z", 4)]


def test_corners_and_optimum_of_each_profile_are_looked_at() -> None:
    inputs = (spec("x", FLOAT, "b", "2*s"), spec("y", FLOAT, 3, "b"))
    one, two = (
        profile(b=(1, 2, 4), s=(5, 6, 7), unused=(1, 2, 3)),
        profile(b=(8, 8, 8), s=(1, 2, 3)),
    )
    assert list(guards._points(inputs, (one, two))) == [
        {"b": 2, "s": 6},
        {"b": 1, "s": 5},
        {"b": 1, "s": 7},
        {"b": 4, "s": 5},
        {"b": 4, "s": 7},
        {"b": 8, "s": 2},
        {"b": 8, "s": 1},
        {"b": 8, "s": 3},
        {"b": 8, "s": 1},
        {"b": 8, "s": 3},
    ]


@pytest.mark.parametrize("count", [6, 7])
def test_of_many_sizes_only_the_extremes_are_looked_at(count: int) -> None:
    names = [f"s{n}" for n in range(count)]
    sizes = profile(**dict.fromkeys(names, (1, 2, 3)))
    found = list(guards._points((spec("x", FLOAT, *names),), (sizes,)))
    extremes = [dict.fromkeys(names, size) for size in (2, 1, 3)]
    assert len(found) == (65 if count == 6 else 3)
    assert all(one in found for one in extremes)
    assert found[0] == extremes[0]
    if count == 7:
        assert found == extremes


class Number(nn.Module):
    """A program without any tensor, for which torch notes nothing of sizes."""

    def forward(self) -> int:
        return 3


class Held(nn.Module):
    """Without inputs, and with one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("held", torch.ones(3))

    def forward(self) -> Tensor:
        return self.held * 2


@pytest.mark.parametrize("model", [Number(), Held()])
def test_a_program_without_inputs_breaks_no_promise(model: nn.Module) -> None:
    exported = torch.export.export(model, ())
    symbols = guards.input_symbols(exported, ())
    assert guards.conditions(exported, symbols) == {}
    sizes = (profile(b=(1, 2, 3)),)
    assert guards.check_dimensions(exported, (), sizes, lambda values: False) is None


@pytest.mark.parametrize(
    ("torchs", "said"),
    [
        ("X.py:1 in X", " (from X.py:1 in X)"),
        ("model.py:7 in forward", " (from model.py:7 in forward)"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_place_that_torch_does_not_know_is_not_told(torchs: str | None, said: str) -> None:
    assert guards._place(SLoc(torchs, None)) == said


@pytest.mark.parametrize("torchs", ["X.py:1 in X", "/home/user/model.py", "", None])
def test_a_place_that_is_told_as_text_lies_in_no_folder(torchs: str | None) -> None:
    assert not guards._folders(SLoc(torchs, None))


@pytest.mark.parametrize(
    "declared",
    [
        (("x", ("b",)), ("y", ("b", "s"))),
        (("x", ("b", "s", 1)), ("y", ("b", "s"))),
        (("x", ("b", "s")), ("y", ())),
        (("x", ("b", "s")),),
    ],
)
def test_inputs_that_are_not_the_programs_are_no_inputs_of_it(
    declared: tuple[tuple[str, tuple[int | str, ...]], ...],
) -> None:
    """Earlier checks refuse them with words; nothing is paired with what it does not belong to."""
    exported = torch.export.export(Sum(), (torch.ones(3, 5), torch.ones(3, 5)))
    with pytest.raises(ValueError, match="zip"):
        guards.input_symbols(exported, tuple(spec(name, FLOAT, *dims) for name, dims in declared))
