"""Branches and loops: torch runs them, with their bodies, and everything around them is in engines.

Each model is built for both backends, and its values compared with eager torch's on inputs that take
each way through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenCase
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, build_program
from compiler.trace.export import trace
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

RANGES = {"b": (1, 3, 6), "t": (1, 5, 9)}
FLAT, ROWS, FIXED = ("b", 4), ("b", "t", 4), ("b", 6, 4)


class Both(nn.Module):
    """Two results, and weights that only one branch reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x).relu()

        def yes(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.second(h) + 1, h * 2

        def no(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return h - 1, h.sin()

        one, two = torch.cond(x.sum() > 0, yes, no, (hidden,))
        return self.second(one) + two


class Nested(nn.Module):
    """A branch in a branch, which reads a buffer and a tensor written there."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("scale", torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def outer(h: torch.Tensor) -> torch.Tensor:
            def large(h: torch.Tensor) -> torch.Tensor:
                return h * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0])

            return torch.cond(h.mean() > 1, large, self.linear, (h,))

        return torch.cond(x.mean() > 0, outer, lambda h: h - torch.tensor(1.5), (x,)).sin()


class Repeats(nn.Module):
    """A loop whose condition reads data, and whose step reads weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def go(count: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return (count < 5) & (h.abs().sum() < 20)

        def step(count: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return count + torch.tensor(1), self.linear(h) * 1.5 + h

        count, h = while_loop(go, step, (torch.tensor(0), x.relu()))
        return (h + count).relu()


class Recurrence(nn.Module):
    """A recurrence over a dynamic length."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def step(h: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = torch.tanh(self.linear(h) + row)
            return h, h * 2

        h, rows = scan(step, torch.zeros_like(x[:, 0]), x, dim=1)
        return h, rows.relu()


class Backwards(nn.Module):
    """From the end, with two carried values and rows in a dictionary."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        def step(carried: Any, rows: Any) -> Any:
            a, b = carried
            return (a + rows["u"], b * 0.5 + rows["v"]), (a * b,)

        start = (torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0]))
        (a, b), (rows,) = scan(step, start, {"u": x, "v": x.sin()}, dim=1, reverse=True)
        return a, b, rows.relu()


class Decay(nn.Module):
    """A linear recurrence, h = a * h + x, as an associative scan."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def combine(left: Any, right: Any) -> Any:
            return {"a": left["a"] * right["a"], "h": left["h"] * right["a"] + right["h"]}

        rows = {"a": x.sigmoid(), "h": x}
        made = associative_scan(combine, rows, dim=1, reverse=True, combine_mode="generic")
        return made["h"].relu(), made["a"]


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def by_size(x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.shape[0] > 2, lambda x: x * 2, lambda x: x + x.shape[0], (x,)).sin()


def rates(x: torch.Tensor) -> torch.Tensor:
    """Results of another rank, dtype and size than the operands."""
    count = torch.cond(x.sum() > 0, lambda x: (x > 0).sum(), lambda x: (x < 0).sum(), (x,))
    middle = torch.cond(count > 3, lambda x: x.sum(0), lambda x: x.mean(0), (x,))
    return middle.abs() + count


def steps_of_sizes(x: torch.Tensor) -> torch.Tensor:
    """A Python number is carried, and held against a size."""
    return while_loop(lambda i, h: i < x.shape[1], lambda i, h: (i + 1, h.sin()), (0, x.relu()))[
        1
    ].relu()


def loop_in_a_branch(x: torch.Tensor) -> torch.Tensor:
    def yes(x: torch.Tensor) -> torch.Tensor:
        return while_loop(
            lambda h: h.abs().max() > 0.5, lambda h: (h * torch.tensor(0.7),), (x.clone(),)
        )[0]

    return torch.cond(x.sum() > 0, yes, lambda x: x.abs(), (x,)) * 3


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int | str, ...], int]] = {
    "both": (Both, FLAT, 2),
    "nested": (Nested, FLAT, 2),
    "by-size": (lambda: Function(by_size), FLAT, 1),
    "rates": (lambda: Function(rates), FLAT, 3),
    "repeats": (Repeats, FLAT, 2),
    "steps-of-sizes": (lambda: Function(steps_of_sizes), ROWS, 2),
    "loop-in-a-branch": (lambda: Function(loop_in_a_branch), FLAT, 2),
    "recurrence": (Recurrence, ROWS, 2),
    "backwards": (Backwards, ROWS, 2),
    "associative": (Decay, ROWS, 2),
}
"""What makes the model, its input's shape, and how many engines stand around the control flow."""


def traced(name: str) -> tuple[nn.Module, tuple[TensorSpec, ...], Any, Any]:
    make, shape, _ = MODELS[name]
    torch.manual_seed(0)
    model, inputs = make().eval(), (TensorSpec("x", "float32", shape),)
    ranges = profile(**{s: r for s, r in RANGES.items() if s in shape})
    return model, inputs, ranges, trace(model, inputs, (ranges,))


def goldens(model: nn.Module, spec: TensorSpec, names: list[str]) -> tuple[GoldenCase, ...]:
    """Inputs around -2, 0.3 and 2, at the smallest, the usual and the largest sizes."""
    generator = torch.Generator().manual_seed(1)
    cases = []
    for place, middle in ((0, 2.0), (1, -2.0), (1, 0.3), (1, 2.0), (2, -2.0)):
        sizes = spec.sizes({symbol: bounds[place] for symbol, bounds in RANGES.items()})
        x = torch.randn(sizes, generator=generator) + middle
        with torch.no_grad():
            made = model(x)
        outputs = made if isinstance(made, tuple) else (made,)
        named = dict(zip(names, outputs, strict=True))
        cases.append(GoldenCase(f"{place}{middle}", {"x": x}, named))
    return tuple(cases)


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "fp32") for name in MODELS), ("both", "bf16"), ("by-size", "fp16")],
)
def test_torch_runs_the_control_flow_and_engines_the_rest(name: str, precision: str) -> None:
    model, inputs, ranges, exported = traced(name)
    program = capture(lower(exported, REGISTRY.ops(), precision), inputs)
    read = Graph.from_json(parse_json(canonical_json(program.graph.to_json())))
    assert read == program.graph
    assert read.digest == program.graph.digest
    cases = goldens(model, inputs[0], [spec.name for spec in program.graph.outputs])
    for target, engines in (("torch:cpu", 0), ("rtx:sm_89", MODELS[name][2])):
        job = BuildRequest(Target.parse(target), (ranges,), precision)
        built = build_program(program, job, cases)
        kinds = [segment.kind for segment in built.segments]
        assert kinds.count("engine") == engines, kinds
        flow = {
            n.op for s in built.segments if s.kind != "engine" for n in s.graph.nodes if n.bodies()
        }
        assert flow, kinds
        assert built.evaluated is None or math.isfinite(built.evaluated.worst)
        if engines:
            kept = [k for k in built.report["kept"] if k["op"] in flow]
            assert {k["code"] for k in kept} == {"control_flow"}
            assert all("test_control_flow.py" in k["file"] for k in kept)


def test_a_scan_over_a_fixed_length_is_all_engine() -> None:
    model, inputs, ranges, _ = traced("associative")
    inputs = (TensorSpec("x", "float32", FIXED),)
    ranges = profile(b=RANGES["b"])
    program = capture(lower(trace(model, inputs, (ranges,)), REGISTRY.ops()), inputs)
    cases = goldens(model, inputs[0], [spec.name for spec in program.graph.outputs])
    built = build_program(program, BuildRequest(Target.parse("rtx:sm_89"), (ranges,)), cases)
    assert [segment.kind for segment in built.segments] == ["engine"]


def test_bodies_are_part_of_the_digest() -> None:
    def program(number: float) -> str:
        model = Function(
            lambda x: torch.cond(x.sum() > 0, lambda x: x * number, lambda x: x + 1, (x,))
        )
        inputs = (TensorSpec("x", "float32", FLAT),)
        exported = trace(model, inputs, (profile(b=RANGES["b"]),))
        return capture(lower(exported, REGISTRY.ops()), inputs).digest

    assert program(2.0) == program(2.0) != program(3.0)


def test_an_operator_that_bundles_cant_call_is_named_inside_its_branch() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda x: x + torch.rand_like(x), lambda x: x - 1, (x,))

    inputs, ranges = (TensorSpec("x", "float32", FLAT),), profile(b=RANGES["b"])
    exported = trace(Function(function), inputs, (ranges,))
    program = capture(lower(exported, REGISTRY.ops()), inputs)
    with pytest.raises(Exception, match=r"aten\.rand.* at .*test_control_flow\.py:\d+"):
        build_program(program, BuildRequest(Target.parse("rtx:sm_89"), (ranges,)))
