"""Sizes and arithmetic on them: on numbers, in networks, and against Python at several sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.interpret import convert
from compiler.convert.ops import creation, sizes
from compiler.convert.registry import Registry
from compiler.network.evaluate import evaluate
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value
from enginebundle.format.spec import Profile, Range, TensorSpec

N, M = Ref("n"), Ref("m")


def program(*nodes: tuple[str, str, tuple[Argument, ...], str]) -> Graph:
    """x has sizes [n, m, 4]; each of `nodes` is (name, op, args, kind); all are returned."""
    calls = [
        Node("aten.sym_size.int", (Ref("x"), 0), (), (Value("n", "symint"),)),
        Node("aten.sym_size.int", (Ref("x"), -2), (), (Value("m", "symint"),)),
    ]
    calls += [Node(op, args, (), (Value(name, kind),)) for name, op, args, kind in nodes]
    kinds = {"symint": "int64", "symfloat": "float32", "symbool": "bool"}
    outputs = tuple(TensorSpec(f"out_{name}", kinds[kind], ()) for name, _, _, kind in nodes)
    x = TensorSpec("x", "float32", ("n", "m", 4))
    return Graph((x,), (), tuple(calls), outputs, tuple(name for name, *_ in nodes))


CASES: list[tuple[str, tuple[Argument, ...], str, Callable[[int, int], Any]]] = [
    ("add", (N, 3), "symint", lambda n, m: n + 3),
    ("sub", (N, M), "symint", lambda n, m: n - m),
    ("mul", (2, M), "symint", lambda n, m: 2 * m),
    ("floordiv", (M, 2), "symint", lambda n, m: m // 2),
    ("mod", (M, N), "symint", lambda n, m: m % n),
    ("truediv", (M, 4), "symfloat", lambda n, m: m / 4),
    ("mul", (N, 0.5), "symfloat", lambda n, m: n * 0.5),
    ("floordiv", (N, 2.0), "symfloat", lambda n, m: n // 2.0),
    ("mod", (N, 2.5), "symfloat", lambda n, m: n % 2.5),
    ("max", (N, M), "symint", max),
    ("min", (N, 3), "symint", lambda n, m: min(n, 3)),
    ("neg", (N,), "symint", lambda n, m: -n),
    ("pow", (N, 3), "symint", lambda n, m: n**3),
    ("pow", (N, 0), "symint", lambda n, m: 1),
    ("pow", (N, -0.5), "symfloat", lambda n, m: n**-0.5),
    ("pow", (N, 1.5), "symfloat", lambda n, m: n**1.5),
    ("pow", (N, 2.0), "symfloat", lambda n, m: n**2.0),
    ("eq", (N, M), "symbool", lambda n, m: n == m),
    ("ne", (N, 3), "symbool", lambda n, m: n != 3),
    ("lt", (N, M), "symbool", lambda n, m: n < m),
    ("le", (N, 3), "symbool", lambda n, m: n <= 3),
    ("gt", (N, 2.5), "symbool", lambda n, m: n > 2.5),
    ("ge", (N, M), "symbool", lambda n, m: n >= m),
    ("sqrt", (N,), "symfloat", lambda n, m: math.sqrt(n)),
    ("float", (N,), "symfloat", lambda n, m: float(n)),
    ("int", (N,), "symint", lambda n, m: n),
    ("floor", (N,), "symint", lambda n, m: n),
    ("and", (N, 1), "symint", lambda n, m: n & 1),
    ("and", (N, 6), "symint", lambda n, m: n & 6),
    ("and", (N, M), "symint", lambda n, m: n & m),
    ("or", (N, 5), "symint", lambda n, m: n | 5),
]


def results(graph: Graph, n: int, m: int) -> dict[str, torch.Tensor]:
    network = convert(graph, {}, Registry([sizes.TABLE]))
    return evaluate(network, {"x": torch.zeros(n, m, 4)})


@pytest.mark.parametrize(("op", "args", "kind", "python"), CASES)
def test_arithmetic(
    op: str, args: tuple[Argument, ...], kind: str, python: Callable[[int, int], Any]
) -> None:
    graph = program(("y", f"sym.{op}", args, kind))
    for n, m in ((2, 7), (3, 3), (9, 4)):
        got = results(graph, n, m)["out_y"]
        assert got.item() == pytest.approx(python(n, m), rel=1e-6)


def test_fractions_become_sizes() -> None:
    """ceil, floor and int of a quotient of sizes, as interpolation uses them."""
    graph = program(
        ("quotient", "sym.truediv", (M, N), "symfloat"),
        ("up", "sym.ceil", (Ref("quotient"),), "symint"),
        ("down", "sym.floor", (Ref("quotient"),), "symint"),
        ("whole", "sym.int", (Ref("quotient"),), "symint"),
        ("halves", "sym.truediv", (M, 2), "symfloat"),
        ("near", "sym.round", (Ref("halves"),), "symint"),
        ("low", "sym.lt", (Ref("quotient"), 2), "symbool"),
        ("odd", "sym.not", (Ref("low"),), "symbool"),
        ("both", "sym.and", (Ref("low"), Ref("odd")), "symbool"),
        ("any", "sym.or", (Ref("low"), Ref("odd")), "symbool"),
    )
    for n, m in ((2, 7), (3, 1023), (5, 10), (4, 5)):
        got = results(graph, n, m)
        assert got["out_up"].item() == math.ceil(m / n)
        assert got["out_down"].item() == got["out_whole"].item() == m // n
        assert got["out_near"].item() == round(m / 2)  # 3.5 is 4, 511.5 is 512
        assert got["out_low"].item() == (m / n < 2)
        assert not got["out_both"].item()
        assert got["out_any"].item()


def test_every_operation_builds() -> None:
    """One engine with all of them: TensorRT-RTX accepts each layer on sizes."""
    nodes = [(f"y{i}", f"sym.{op}", args, kind) for i, (op, args, kind, _) in enumerate(CASES)]
    graph = program(*nodes, ("up", "sym.ceil", (Ref("y5"),), "symint"))
    network = convert(graph, {}, Registry([sizes.TABLE]))
    profile = Profile("p", (("n", Range(1, 3, 9)), ("m", Range(1, 4, 9))))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert len(build_engine(tensorrt_rtx.module(), network, graph, options)) > 1000


def test_a_rounded_quotient_sizes_a_tensor() -> None:
    """TensorRT's shape arithmetic allows the detour through float32."""
    filled = Node(
        "aten.full.default", ((Ref("up"), 2), 1.5), (), (Value("y", "float32", ("u", 2)),)
    )
    quotients = program(
        ("quotient", "sym.mul", (M, 0.5), "symfloat"),
        ("up", "sym.ceil", (Ref("quotient"),), "symint"),
    )
    graph = Graph(
        quotients.inputs,
        (),
        (*quotients.nodes, filled),
        (TensorSpec("y", "float32", ("u", 2)),),
        ("y",),
    )
    network = convert(graph, {}, Registry([sizes.TABLE, creation.TABLE]))
    assert evaluate(network, {"x": torch.zeros(2, 7, 4)})["y"].shape == (4, 2)
    profile = Profile("p", (("n", Range(1, 3, 9)), ("m", Range(1, 4, 9))))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert len(build_engine(tensorrt_rtx.module(), network, graph, options)) > 1000


def test_numbers_stay_numbers() -> None:
    """Static sizes never become layers."""
    functions = {op.removeprefix("sym."): row.function for op, row in sizes.TABLE.rows.items()}
    assert functions["floordiv"](None, -7, 2) == -4
    assert functions["mod"](None, -7, 2) == 1
    assert functions["truediv"](None, 7, 2) == 3.5
    assert functions["ceil"](None, 3.5) == 4
    assert functions["not"](None, True) is False
    assert functions["and"](None, True, False) is False
    assert functions["max"](None, 3, 4) == 4
    assert functions["pow"](None, 3, 4) == 81


def test_a_computed_power_is_refused() -> None:
    graph = program(("y", "sym.pow", (2, N), "symint"))
    found = Registry([sizes.TABLE]).find(graph.nodes[-1], {"n": Value("n", "symint")})
    assert "constant power" in found.detail  # type: ignore[union-attr]
