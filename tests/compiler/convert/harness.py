"""Runs a table of operator cases: convert once, evaluate at several sizes, build for real.

`Case(op, make)` is an overload and `make(n) -> (args, kwargs)`, which is called for n in SIZES. Tensor
sizes and integer arguments that vary with n become dynamic, and such integers are computed in the
graph from the sizes of an input, as `torch.export` would write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.interpret import convert, value_table
from compiler.convert.library import REGISTRY
from compiler.convert.registry import Refusal
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Weight, Word
from enginebundle.format.spec import Profile, Range, TensorSpec

SIZES = (2, 3, 5)
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One call of one overload.

    Attributes:
        make: n -> (args, kwargs); called with a fixed seed.
        static: only n = 3, all sizes fixed.
        weights: positions (among the flattened tensor arguments) that are the graph's weights.
        refused: (code, part of the detail) of the refusal that `Registry.find` must return.
        atol, rtol: against eager torch.
        build: also build an engine with TensorRT-RTX (sm_89).
        results: how many results are compared, from the first; the others serve training. None: all.
        name: shown in the test's id.
    """

    op: str
    make: Callable[[int], Arguments]
    static: bool = False
    weights: tuple[int, ...] = ()
    refused: tuple[str, str] | None = None
    atol: float = 1e-5
    rtol: float = 1e-5
    build: bool = True
    results: int | None = None
    name: str = ""

    def __str__(self) -> str:
        return f"{self.op}{'-' + self.name if self.name else ''}{'-static' if self.static else ''}"


def parametrize(cases: list[Case]) -> Any:
    """`@parametrize(CASES)` for `def test_x(case): run(case)`."""
    return pytest.mark.parametrize("case", cases, ids=str)


class _GraphMaker:
    """Turns the calls at every size into one graph with symbolic sizes."""

    def __init__(self, case: Case, calls: list[Arguments]) -> None:
        self.case = case
        self.calls = calls
        self.sizes = (3,) if case.static else SIZES
        self.inputs: list[TensorSpec] = []
        self.weights: list[Weight] = []
        self.feeds: list[dict[str, torch.Tensor]] = [{} for _ in calls]
        self.stored: dict[str, torch.Tensor] = {}
        self.nodes: list[Node] = []
        self.tensors = 0

    def size(self, found: list[int]) -> int | str:
        """A size seen at each n, as a number, as the line `a*n + b`, or as the number of pairs of n."""
        if len(set(found)) == 1:
            return found[0]
        a, remainder = divmod(found[1] - found[0], self.sizes[1] - self.sizes[0])
        b = found[0] - a * self.sizes[0]
        if found == [n * (n - 1) // 2 for n in self.sizes]:
            return "n*(n - 1)//2"
        linear = not remainder and [a * n + b for n in self.sizes] == found
        assert linear, f"{self.case}: sizes {found} are not linear in n {self.sizes}"
        return f"{a}*n + {b}" if (a, b) != (1, 0) else "n"

    def argument(self, found: list[Any]) -> Argument:
        first = found[0]
        if isinstance(first, torch.Tensor):
            return self.tensor(found)
        if isinstance(first, list | tuple):
            assert len({len(f) for f in found}) == 1, f"{self.case}: a list's length varies with n"
            return tuple(self.argument([f[i] for f in found]) for i in range(len(first)))
        if isinstance(first, torch.dtype):
            return Word("dtype", str(first).removeprefix("torch."))
        if isinstance(first, int) and not isinstance(first, bool) and len(set(found)) > 1:
            return Ref("\0" + str(self.size(found)))  # resolved once all inputs are known
        assert isinstance(first, None | bool | int | float | str), (
            f"{self.case}: argument {first!r}"
        )
        return first

    def tensor(self, found: list[torch.Tensor]) -> Ref:
        position, self.tensors = self.tensors, self.tensors + 1
        name = f"x{position}"
        dtype = str(found[0].dtype).removeprefix("torch.")
        if position in self.case.weights:
            value = found[0].contiguous()
            raw = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
            self.weights.append(
                Weight(TensorSpec(name, dtype, tuple(value.shape)), digest_bytes(raw))
            )
            self.stored[name] = value
        else:
            shape = tuple(self.size([t.shape[i] for t in found]) for i in range(found[0].ndim))
            self.inputs.append(TensorSpec(name, dtype, shape))
            for feed, value in zip(self.feeds, found, strict=True):
                feed[name] = value
        return Ref(name)

    def resolve(self, argument: Argument) -> Argument:
        """Replace a varying integer by nodes that compute it from an input's size."""
        if isinstance(argument, tuple):
            return tuple(self.resolve(a) for a in argument)
        if not isinstance(argument, Ref) or not argument.name.startswith("\0"):
            return argument
        expression = argument.name[1:]
        for spec in self.inputs:
            if expression in spec.shape:
                return self.node(
                    "aten.sym_size.int", (Ref(spec.name), spec.shape.index(expression))
                )
        base = next(((s, i) for s in self.inputs for i, d in enumerate(s.shape) if d == "n"), None)
        assert base is not None, f"{self.case}: nothing has size n to compute {expression} from"
        n = self.node("aten.sym_size.int", (Ref(base[0].name), base[1]))
        a, b = expression.split("*n + ")
        product = self.node("sym.mul", (n, int(a)))
        return self.node("sym.add", (product, int(b)))

    def node(self, op: str, args: tuple[Argument, ...]) -> Ref:
        name = f"i{len(self.nodes)}"
        self.nodes.append(Node(op, args, (), (Value(name, "symint"),)))
        return Ref(name)

    def graph(self, results: list[list[torch.Tensor]]) -> Graph:
        args = tuple(
            self.argument([c[0][i] for c in self.calls]) for i in range(len(self.calls[0][0]))
        )
        kwargs = {k: self.argument([c[1][k] for c in self.calls]) for k in self.calls[0][1]}
        args = tuple(self.resolve(a) for a in args)
        kwargs = {k: self.resolve(a) for k, a in kwargs.items()}
        outputs = []
        for index in range(len(results[0])):
            found = [r[index] for r in results]
            shape = tuple(self.size([t.shape[i] for t in found]) for i in range(found[0].ndim))
            outputs.append(Value(f"y{index}", str(found[0].dtype).removeprefix("torch."), shape))
        self.nodes.append(Node(self.case.op, args, tuple(kwargs.items()), tuple(outputs)))
        kept = outputs[: self.case.results]
        specs = tuple(TensorSpec(f"out{i}", v.dtype, v.shape) for i, v in enumerate(kept))
        return Graph(tuple(self.inputs), tuple(self.weights), tuple(self.nodes), specs,
                     tuple(v.name for v in kept))  # fmt: skip


def overload(op: str) -> Callable[..., Any]:
    namespace, name, over = op.split(".")
    found: Callable[..., Any] = getattr(getattr(getattr(torch.ops, namespace), name), over)
    return found


@dataclass(frozen=True)
class Converted:
    """A case's graph and network, with inputs and eager torch's results at each n."""

    graph: Graph
    network: Network
    sizes: tuple[int, ...]
    feeds: tuple[dict[str, torch.Tensor], ...]
    wants: tuple[dict[str, torch.Tensor], ...]

    def engine(self, capability: str) -> bytes:
        """The engine, built with TensorRT-RTX for every n between the smallest and the largest."""
        low, high = self.sizes[0], self.sizes[-1]
        profile = Profile("p", (("n", Range(low, self.sizes[len(self.sizes) // 2], high)),))
        options = EngineOptions((profile,), capabilities=(capability,))
        return build_engine(tensorrt_rtx.module(), self.network, self.graph, options)


def converted(case: Case) -> Converted | Refusal:
    """Call eager torch at every n, write the calls as one graph, and convert it."""
    calls, results = [], []
    for n in (3,) if case.static else SIZES:
        torch.manual_seed(0)
        args, kwargs = case.make(n)
        calls.append((args, kwargs))
        result = overload(case.op)(*args, **kwargs)
        results.append(list(result) if isinstance(result, tuple | list) else [result])
    maker = _GraphMaker(case, calls)
    graph = maker.graph(results)
    found = REGISTRY.find(graph.nodes[-1], value_table(graph))
    if isinstance(found, Refusal):
        return found
    network = convert(graph, maker.stored, REGISTRY)
    wants = tuple(
        {f"out{i}": want for i, want in enumerate(result[: case.results])} for result in results
    )
    return Converted(graph, network, maker.sizes, tuple(maker.feeds), wants)


def run(case: Case) -> None:
    """Run one case on the CPU; an AssertionError says what differs, and at which n."""
    found = converted(case)
    if case.refused is not None:
        assert isinstance(found, Refusal), f"{case}: expected a refusal, got a converter"
        assert found.code == case.refused[0]
        assert case.refused[1] in found.detail
        return
    assert not isinstance(found, Refusal), f"{case}: {found}"
    for feed, want, n in zip(found.feeds, found.wants, found.sizes, strict=True):
        got = evaluate(found.network, feed)
        for name, expected in want.items():
            torch.testing.assert_close(
                got[name], expected, atol=case.atol, rtol=case.rtol, equal_nan=True,
                check_stride=False, msg=lambda m, n=n: f"{case} n={n}: {m}",
            )  # fmt: skip
    if case.build and found.network.layers:
        assert len(found.engine("sm_89")) > 1000
