"""A function through the whole compiler: exported, lowered, captured, converted, evaluated, built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.interpret import convert, value_table
from compiler.convert.library import REGISTRY
from compiler.convert.registry import Refusal
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.program import Program
from compiler.trace.export import trace
from compiler.trace.outputs import output_tensors
from enginebundle.format.spec import Profile, Range, TensorSpec

SIZES = (2, 3, 5)


class Function(torch.nn.Module):
    """A function of tensors as a model."""

    def __init__(self, function: Callable[..., Any], parameters: tuple[torch.Tensor, ...]) -> None:
        super().__init__()
        self.function = function
        for number, tensor in enumerate(parameters):
            self.register_buffer(f"weight{number}", tensor)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.buffers())


@dataclass(frozen=True)
class Call:
    """`function(*inputs, *parameters)`. `make(n)` gives the inputs, whose sizes may vary with n.

    `static`: n = 3 alone.
    """

    function: Callable[..., Any]
    make: Callable[[int], tuple[torch.Tensor, ...]]
    parameters: tuple[torch.Tensor, ...] = ()
    static: bool = False
    atol: float = 1e-5
    rtol: float = 1e-5

    @property
    def sizes(self) -> tuple[int, ...]:
        return (3,) if self.static else SIZES

    def inputs(self, n: int) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(0)
        return self.make(n)

    @property
    def profile(self) -> Profile:
        low, middle, high = self.sizes[0], self.sizes[len(self.sizes) // 2], self.sizes[-1]
        return Profile("p", (("n", Range(low, middle, high)),))

    def specs(self) -> tuple[TensorSpec, ...]:
        found = []
        for place, tensors in enumerate(zip(*(self.inputs(n) for n in self.sizes), strict=True)):
            shape = [self._dim([t.shape[i] for t in tensors]) for i in range(tensors[0].ndim)]
            dtype = str(tensors[0].dtype).removeprefix("torch.")
            found.append(TensorSpec(f"x{place}", dtype, tuple(shape)))
        return tuple(found)

    def _dim(self, found: list[int]) -> int | str:
        if len(set(found)) == 1:
            return found[0]
        a = (found[1] - found[0]) // (self.sizes[1] - self.sizes[0])
        b = found[0] - a * self.sizes[0]
        assert [a * n + b for n in self.sizes] == found, found
        return f"{a}*n + {b}" if (a, b) != (1, 0) else "n"

    def program(self, precision: str = "fp32") -> Program:
        """The lowered graph, with symbolic sizes where inputs vary."""
        specs = self.specs()
        module = Function(self.function, self.parameters)

        def example(symbols: Any) -> dict[str, torch.Tensor]:
            tensors = self.inputs(symbols.get("n", 3))
            return {s.name: t.clone() for s, t in zip(specs, tensors, strict=True)}

        exported = trace(module, specs, (self.profile,), example)
        with torch.no_grad():
            return capture(lower(exported, REGISTRY.ops(), precision), specs)


def refusals(program: Program) -> list[Refusal]:
    """Why nodes of a graph have no converter."""
    values = value_table(program.graph)
    found = [REGISTRY.find(node, values) for node in program.graph.nodes]
    return [f for f in found if isinstance(f, Refusal)]


def check(call: Call, build: bool = False) -> Program:
    """Check that every node converts, with eager torch's numbers at every size. Returns the program."""
    program = call.program()
    assert refusals(program) == []
    network = convert(program.graph, program.weights, REGISTRY)
    for n in call.sizes:
        inputs = call.inputs(n)
        names = [spec.name for spec in program.graph.inputs]
        got = evaluate(network, dict(zip(names, inputs, strict=True)))
        module = Function(call.function, call.parameters)
        with torch.no_grad():
            wants = output_tensors(module(*(t.clone() for t in inputs)))
        for spec, want in zip(program.graph.outputs, wants.values(), strict=True):
            torch.testing.assert_close(
                got[spec.name], want, atol=call.atol, rtol=call.rtol, equal_nan=True,
                check_stride=False, msg=lambda m, n=n: f"n={n}: {m}",
            )  # fmt: skip
    if build:
        options = EngineOptions((call.profile,), capabilities=("sm_89",))
        assert len(build_engine(tensorrt_rtx.module(), network, program.graph, options)) > 1000
    return program
