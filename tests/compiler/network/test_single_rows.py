"""The product of one row in one head becomes a sum of elementwise products; no other product does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.kinds.products import MatMul
from compiler.network.network import Network, Tensor
from compiler.network.single_rows import without_single_rows
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec


def network_of(
    q: tuple[Any, ...], k: tuple[Any, ...], dtype: torch.dtype = torch.float32
) -> Network:
    net = Net()
    left, right = net.input("q", dtype, q), net.input("k", dtype, k)
    return net.finish({"y": net.matmul(left, right)}, {})


def feed(q: tuple[int, ...], k: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    return {"q": torch.randn(q).to(dtype), "k": torch.randn(k).to(dtype)}


def products(network: Network) -> int:
    return sum(layer.row is MatMul for layer in network.layers)


@pytest.mark.parametrize(
    ("q", "k"),
    [
        ((2, 1, 1, 32), (2, 1, 32, 8)),
        ((1, 1, 1, 5), (3, 1, 5, 7)),
        ((2, 1, 1, 1), (2, 1, 1, 4)),
        ((2, 1, 1, 9), (2, 1, 9, 1)),
    ],
    ids=["scores", "a query for all", "one feature", "one key"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_row_in_one_head(q: Any, k: Any, dtype: torch.dtype) -> None:
    given = network_of(q, k, dtype)
    made = without_single_rows(given)
    assert products(made) == 0
    values = feed(q, k, dtype)
    found, before = (evaluate(n, values)["y"] for n in (made, given))
    assert found.dtype == dtype
    torch.testing.assert_close(found, before)


def test_halves_are_summed_in_float32() -> None:
    shapes = (1, 1, 1, 4096), (1, 1, 4096, 1)
    given = network_of(*shapes, torch.float16)
    values = {"q": torch.ones(shapes[0]).half(), "k": torch.full(shapes[1], 20).half()}
    values["k"][:, :, 1::2] = -19.98  # each partial sum in halves would lose what is left of a pair
    assert torch.equal(
        evaluate(without_single_rows(given), values)["y"], evaluate(given, values)["y"]
    )


@pytest.mark.parametrize(
    ("q", "k"),
    [
        ((2, 4, 1, 8), (2, 4, 8, 5)),
        ((2, 1, 3, 8), (2, 1, 8, 5)),
        ((2, 1, 1, 8), (2, 4, 8, 5)),
        ((2, 1, 8), (2, 8, 5)),
    ],
    ids=["heads", "rows", "heads of one query", "three axes"],
)
def test_other_products_stay(q: Any, k: Any) -> None:
    given = network_of(q, k)
    assert without_single_rows(given) is given


def test_a_product_with_a_constant_stays() -> None:
    net = Net()
    q = net.input("q", torch.float32, (2, 1, 1, 8))
    given = net.finish({"y": net.matmul(q, net.constant(torch.randn(1, 1, 8, 3)))}, {})
    assert without_single_rows(given) is given


def test_an_attention_of_one_query_is_built_and_is_the_same() -> None:
    """Scores, weights and mixture with a dynamic number of keys and a dynamic batch."""
    net = Net()
    q = net.input("q", torch.float32, (None, 1, 1, 8))
    k = net.input("k", torch.float32, (None, 1, None, 8))

    def attend(k: Tensor) -> Tensor:
        weights = net.softmax(net.matmul(q, net.transpose(k, [0, 1, 3, 2])), 3)
        return net.matmul(weights, k)

    given = net.finish({"y": attend(k)}, {})
    made = without_single_rows(given)
    assert products(made) == 0
    for b, s in ((1, 1), (2, 7), (3, 16)):
        values = feed((b, 1, 1, 8), (b, 1, s, 8))
        torch.testing.assert_close(evaluate(made, values)["y"], evaluate(given, values)["y"])
    border = Graph(
        (
            TensorSpec("q", "float32", ("b", 1, 1, 8)),
            TensorSpec("k", "float32", ("b", 1, "s", 8)),
        ),
        (),
        (),
        (),
        (),
    )
    profile = Profile("p", (("b", Range(1, 2, 4)), ("s", Range(1, 7, 16))))
    assert build_engine(tensorrt_rtx.module(), made, border, EngineOptions((profile,)))
