"""Tensors filled with one value, and ranges and identities of computed sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.interpret import convert
from compiler.convert.library import REGISTRY
from compiler.convert.registry import Refusal
from compiler.network.evaluate import evaluate
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Word
from enginebundle.format.spec import Profile, Range, TensorSpec
from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, overload, parametrize, run
from tests.compiler.convert.values import BOOL, F16, I32, scalar, whole

D = x("n", 3)
CASES = [
    *(
        Case(
            f"aten.new_{f}.default",
            call(D, [3, i("2n+1")], dtype=dtype),
            name=f"{dtype}",
            build=build,
        )
        for f in ("zeros", "ones")
        for dtype, build in (
            (None, True),
            (torch.int64, False),
            (I32, False),
            (F16, True),
            (BOOL, True),
        )
    ),
    *(
        Case(f"aten.{f}_like.default", call(D, dtype=dtype), name=f"{dtype}")
        for f in ("zeros", "ones")
        for dtype in (None, torch.int64, BOOL)
    ),
    *(Case(f"aten.{f}_like.default", call(D), static=True) for f in ("zeros", "ones")),
    Case("aten.zeros_like.default", call(lambda n: torch.tensor(1)), name="0-d"),
    Case("aten.zeros_like.default", call(x("n", 0)), name="empty"),
    Case("aten.full_like.default", call(D, 2)),
    Case("aten.full_like.default", call(whole(), 2.0, dtype=torch.float32), name="dtype"),
    Case("aten.full_like.default", call(D, -float("inf")), name="-inf"),
    Case("aten.full_like.default", call(x("n", 80, 80), 1.5), static=True, name="large"),
    Case("aten.new_full.default", call(D, [i("n"), 1, 2], 7)),
    Case("aten.new_full.default", call(D, [], 7), name="0-d"),
    Case("aten.new_full.default", call(whole(), [2, 2], True, dtype=BOOL), name="bool"),
    Case("aten.fill.Scalar", call(D, 2)),
    Case("aten.fill.Tensor", call(D, scalar(2, torch.int64))),
    Case("aten.scalar_tensor.default", call(2), static=True),
    Case("aten.scalar_tensor.default", call(2, dtype=torch.int64), static=True, name="int64"),
    Case("aten.full.default", call([2, 3], 1.5), static=True),
    Case("aten.full.default", call([2, 3], 1), static=True, name="int"),
    Case("aten.full.default", call([2, 3], True), static=True, name="bool"),
    Case("aten.full.default", call([], 1, dtype=F16), static=True, name="0-d"),
    Case("aten.zeros.default", call([2, 0, 3]), static=True, name="empty"),
    Case("aten.ones.default", call([2, 3], dtype=I32), static=True),
]


@parametrize(CASES)
def test_creation(case: Case) -> None:
    run(case)


# -- computed bounds and sizes -----------------------------------------------------------------

N, M = Ref("n"), Ref("m")
Dims = Callable[[int, int], tuple[tuple[Any, ...], dict[str, Any]]]
COMPUTED: list[tuple[str, Dims]] = [
    ("arange.default", lambda n, m: ((n,), {})),
    ("arange.default", lambda n, m: ((m,), {"dtype": torch.float32})),
    ("arange.default", lambda n, m: ((m,), {"dtype": torch.float16})),
    ("arange.default", lambda n, m: ((m,), {"dtype": torch.int32})),
    ("arange.start", lambda n, m: ((n, m), {})),
    ("arange.start", lambda n, m: ((-3.0, m), {})),
    ("arange.start_step", lambda n, m: ((n, m, 2), {})),
    ("arange.start_step", lambda n, m: ((m, -1, -3), {})),
    ("arange.start_step", lambda n, m: ((0, m, 2), {"dtype": torch.float32})),
    ("arange.start_step", lambda n, m: ((0, m, 1.0), {})),
    ("linspace.default", lambda n, m: ((-1.0, 2.0, m), {})),
    ("linspace.default", lambda n, m: ((0, 1, n), {"dtype": torch.float16})),
    ("full.default", lambda n, m: (([n, m], 2.5), {})),
    ("full.default", lambda n, m: (([n, 2], m), {"dtype": torch.float32})),
    ("full.default", lambda n, m: (([2], n), {})),
    ("zeros.default", lambda n, m: (([n, m],), {"dtype": torch.bool})),
    ("ones.default", lambda n, m: (([1, m],), {})),
    ("scalar_tensor.default", lambda n, m: ((n,), {"dtype": torch.int64})),
    ("eye.default", lambda n, m: ((n,), {})),
    ("eye.m", lambda n, m: ((n, m), {"dtype": torch.bool})),
]
POINTS = ((2, 7), (3, 3), (2, 9))


class Symbol(int):
    """A size that represents a reference, so that one function makes both calls and graphs."""


def _argument(value: Any) -> Argument:
    if isinstance(value, list):
        return tuple(_argument(v) for v in value)
    if isinstance(value, torch.dtype):
        return Word("dtype", str(value).removeprefix("torch."))
    if isinstance(value, Symbol):
        return N if value == 1000 else M
    return value


def graph_of(op: str, dims: Dims) -> Graph:
    """x has sizes [n, m]; the operator's result is the output."""
    args, kwargs = dims(Symbol(1000), Symbol(2000))
    calls = [
        Node("aten.sym_size.int", (Ref("x"), axis), (), (Value(name, "symint"),))
        for axis, name in enumerate("nm")
    ]
    args, kwargs = tuple(_argument(a) for a in args), {k: _argument(a) for k, a in kwargs.items()}
    call_args, call_kwargs = dims(3, 7)
    result = overload(f"aten.{op}")(*call_args, **call_kwargs)
    dtype = str(result.dtype).removeprefix("torch.")
    shape = tuple(f"s{i}" for i in range(result.ndim))
    node = Node(f"aten.{op}", args, tuple(kwargs.items()), (Value("y", dtype, shape),))
    spec = TensorSpec("x", "float32", ("n", "m"))
    return Graph((spec,), (), (*calls, node), (TensorSpec("y", dtype, shape),), ("y",))


@pytest.mark.parametrize(("op", "dims"), COMPUTED)
def test_computed(op: str, dims: Dims) -> None:
    graph = graph_of(op, dims)
    network = convert(graph, {}, REGISTRY)
    for n, m in POINTS:
        args, kwargs = dims(n, m)
        want = overload(f"aten.{op}")(*args, **kwargs)
        got = evaluate(network, {"x": torch.zeros(n, m)})["y"]
        torch.testing.assert_close(got, want, atol=1e-3 if want.dtype == F16 else 1e-6, rtol=1e-5)
    profile = Profile("p", (("n", Range(1, 2, 9)), ("m", Range(1, 4, 9))))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert len(build_engine(tensorrt_rtx.module(), network, graph, options)) > 1000


def test_an_empty_range() -> None:
    """A start beyond the end gives no elements; torch's own check would raise at run time."""
    network = convert(graph_of("arange.start", lambda n, m: ((n, m), {})), {}, REGISTRY)
    assert evaluate(network, {"x": torch.zeros(7, 2)})["y"].shape == (0,)


@pytest.mark.parametrize(
    ("op", "args", "text"),
    [
        ("arange.start_step", (0, N, M), "constant step"),
        ("arange.start_step", (0, N, 0.5), "whole numbers"),
        ("tril_indices.default", (N, 3), "depends on the sizes"),
    ],
)
def test_refused(op: str, args: tuple[Argument, ...], text: str) -> None:
    values = {name: Value(name, "symint") for name in "nm"}
    node = Node(f"aten.{op}", args, (), (Value("y", "int64", ("s",)),))
    found = REGISTRY.find(node, values)
    assert isinstance(found, Refusal)
    assert text in found.detail
