"""Models that write into their inputs: a bundle gives the new values back, as outputs of their own.

The caller's tensor stays as it is, and eager PyTorch's effect on it is in the goldens. What changes an input's
shape, or writes where torch.export sees nothing, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.goldens.goldens import GoldenSource
from compiler.pipeline import BuildRequest, Traced, TraceRequest, build_program, trace_model
from compiler.program import run
from compiler.refused import Refused
from compiler.trace.source import Source
from enginebundle.format.spec import Target, TensorSpec
from tests.compiler.small_models import profile

RANGES = {"b": (2, 3, 6)}


class Writes(torch.nn.Module):
    """Calls `write` with its inputs between two layers."""

    def __init__(self, write: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.write = WAYS.get(write) or REFUSED[write][0]
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.write(self.linear(y).relu(), x, y)


def make(write: str) -> torch.nn.Module:
    """The entrypoint."""
    return Writes(write)


Write = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]


def add(h: Any, x: Any, y: Any) -> Any:
    x.add_(h)
    return x * 2


def only_written(h: Any, x: Any, y: Any) -> Any:
    x.copy_(h)
    return h + y


def out(h: Any, x: Any, y: Any) -> Any:
    torch.mul(h, y, out=x)
    return h.sum(1)


def index_put(h: Any, x: Any, y: Any) -> Any:
    x.index_put_((torch.tensor([1, 0]),), h[:2], accumulate=True)
    return x.tanh()


def assigned(h: Any, x: Any, y: Any) -> Any:
    x[:, 1:3] = 7
    x[0] = h[0]
    return x + y


def through_a_view(h: Any, x: Any, y: Any) -> Any:
    x.t()[2].mul_(h[:, 0])
    return {"hidden": h, "x_after": y.sum()}


def swapped(h: Any, x: Any, y: Any) -> Any:
    kept = x.clone()
    x.copy_(y)
    y.copy_(kept)
    return h, x


def returned(h: Any, x: Any, y: Any) -> Any:
    return x.mul_(h)


WAYS: dict[str, Write] = {
    f.__name__: f
    for f in (add, only_written, out, index_put, assigned, through_a_view, swapped, returned)
}


def numpys(h: Any, x: Any, y: Any) -> Any:
    x.detach().numpy()[0] = 1
    return h + x


def datas(h: Any, x: Any, y: Any) -> Any:
    x.data.add_(1)
    return h + x


REFUSED: dict[str, tuple[Write, str]] = {
    "resize": (lambda h, x, y: (x.resize_(2, 2), h)[1], "reshaped"),
    "resize_larger": (lambda h, x, y: (x.resize_(8, 8).fill_(0), h)[1], "reshaped"),
    "transpose": (lambda h, x, y: (x.transpose_(0, 1), h)[1], "reshaped"),
    "unsqueeze": (lambda h, x, y: (x.unsqueeze_(0), h)[1], "reshaped"),
    "numpy": (numpys, "export"),
    "data": (datas, "export"),
}


def traced(write: str, goldens: GoldenSource | None, size: int | str = "b") -> Traced:
    inputs = tuple(TensorSpec(name, "float32", (size, 4)) for name in "xy")
    source = Source(
        entrypoint="test_written_inputs:make", kwargs=(("write", write),),
        search_path=(str(Path(__file__).parent),),
    )  # fmt: skip
    profiles = (profile(**(RANGES if size == "b" else {})),)
    return trace_model(TraceRequest(source, inputs, profiles, goldens))


@pytest.mark.parametrize("write", WAYS)
def test_the_new_values_are_outputs_and_every_target_gives_them(write: str) -> None:
    made = traced(write, GoldenSource(seed=3, cases=2))
    model = Writes(write).eval()
    for size in (2, 5):
        given = {"x": torch.randn(size, 4), "y": torch.randn(size, 4)}
        after = {name: tensor.clone() for name, tensor in given.items()}
        with torch.no_grad():
            model(**after)
        before = {name: tensor.clone() for name, tensor in given.items()}
        got = run(made.program, given)
        for name, tensor in after.items():
            output = f"{name}_after" if write != "through_a_view" else f"{name}_after_1"
            assert (output in got) == (not torch.equal(tensor, before[name]))
            if output in got:
                torch.testing.assert_close(got[output], tensor)
            assert torch.equal(given[name], before[name])
    for case in made.goldens:
        assert case.outputs.keys() == {spec.name for spec in made.program.graph.outputs}
    for target in (Target("torch", ("cpu",)), Target("rtx", ("sm_89",))):
        built = build_program(
            made.program, BuildRequest(target, (profile(**RANGES),)), made.goldens
        )
        assert target.backend == "torch" or [s.kind for s in built.segments] == ["engine"]
        assert built.evaluated is None or built.evaluated.worst <= 1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_in_half_precision_the_new_value_has_the_inputs_type(precision: str) -> None:
    inputs = tuple(TensorSpec(name, "float32", ("b", 4)) for name in "xy")
    source = Source(
        entrypoint="test_written_inputs:make", kwargs=(("write", "add"),),
        search_path=(str(Path(__file__).parent),),
    )  # fmt: skip
    request = TraceRequest(
        source, inputs, (profile(**RANGES),), GoldenSource(seed=3, cases=1), precision
    )
    made = trace_model(request)
    assert {spec.name: spec.dtype for spec in made.program.graph.outputs} == {
        "output": "float32", "x_after": "float32",
    }  # fmt: skip
    target = BuildRequest(Target("rtx", ("sm_89",)), request.profiles, precision)
    assert build_program(made.program, target, made.goldens).evaluated is not None


@pytest.mark.parametrize("write", REFUSED)
@pytest.mark.parametrize("size", ["b", 4])
@pytest.mark.parametrize("goldens", [GoldenSource(seed=1, cases=1), None])
def test_what_no_output_can_tell_is_refused(
    write: str, size: int | str, goldens: GoldenSource | None
) -> None:
    with pytest.raises(Refused) as refused:
        traced(write, goldens, size)
    code = REFUSED[write][1]
    assert refused.value.code == code
    assert refused.value.remedy
    if code == "reshaped":
        assert "changes the shape of its input 'x' itself" in refused.value.message


def test_a_write_that_the_export_does_not_see_is_no_silent_difference() -> None:
    """Forward writes only where no tracer looks: the goldens know."""

    class Hides(Writes):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            if not torch.compiler.is_compiling():
                x.add_(1)
            return y * 2

    import test_written_inputs as here  # the entrypoint's module

    here.hides = lambda: Hides("add")  # type: ignore[attr-defined]
    inputs = tuple(TensorSpec(name, "float32", ("b", 4)) for name in "xy")
    source = Source(entrypoint="test_written_inputs:hides")
    with pytest.raises(Refused, match="only one of them writes into an input") as refused:
        trace_model(TraceRequest(source, inputs, (profile(**RANGES),), GoldenSource(seed=1)))
    assert refused.value.code == "mutation"
