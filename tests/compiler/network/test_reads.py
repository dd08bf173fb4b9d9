"""Copies stand where TensorRT-RTX would mistake one read of a tensor for another, and only there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.network import Network, Tensor
from compiler.network.reads import set_apart
from enginebundle.format.spec import Profile
from tests.compiler.network.cases import BF16, F16, F32, I32, I64, NetworkCase
from tests.compiler.network.test_layers import border

Write = Callable[..., Tensor]
X = (F32, (3, 4, 6))


def first(net: Net, x: Tensor) -> Tensor:
    return net.narrow(x, 1, 0, 1)


def total(net: Net, x: Tensor) -> Tensor:
    return net.reduce(x, "SUM", [1], False)


def placed(net: Net, x: Tensor, before: int) -> Tensor:
    """The first rows of x after `before` zeros, as many rows as x has."""
    return net.slice(x, [0, -before, 0], [3, 4, 6], [1, 1, 1], "FILL", net.scalar(0.0, F32))


def shifted(net: Net, x: Tensor) -> Tensor:
    return net.concat([first(net, x), net.narrow(x, 1, 0, 3)], 1)


def every_other(net: Net, x: Tensor) -> Tensor:
    return net.narrow(x, 1, 0, 2, 2)


def gathered(net: Net, x: Tensor, places: Sequence[int]) -> Tensor:
    return net.gather(x, net.constant(torch.tensor(places)), 1)


MISTAKEN: dict[str, Write] = {
    "one of many": lambda n, x: total(n, n.mul(x, first(n, x))),
    "computed": lambda n, x: total(n, n.add(n.unary(first(n, x), "EXP"), n.mul(x, 2.0))),
    "gathered": lambda n, x: total(n, n.mul(x, gathered(n, x, [0]))),
    "other steps": lambda n, x: total(n, n.mul(n.narrow(x, 1, 0, 2), every_other(n, x))),
    "gathered steps": lambda n, x: total(n, n.mul(n.narrow(x, 1, 0, 2), gathered(n, x, [0, 2]))),
    "transposed": lambda n, x: total(
        n, n.mul(n.narrow(x, 2, 0, 4), n.transpose(n.narrow(x, 2, 0, 4), [0, 2, 1]))
    ),
    "axis between": lambda n, x: total(n, n.mul(n.unsqueeze(x, [1]), n.unsqueeze(x, [2]))),
    "reshaped": lambda n, x: total(
        n, n.mul(n.reshape(x, [3, 24]), n.narrow(n.reshape(x, [3, 24]), 1, 0, 1))
    ),
    "padded": lambda n, x: total(n, n.mul(x, placed(n, x, 1))),
    "concatenated": lambda n, x: total(n, n.sub(x, shifted(n, x))),
    "concatenated with itself": lambda n, x: total(n, n.concat([n.mul(first(n, x), x), x], 1)),
    "softmax": lambda n, x: n.softmax(n.sub(x, first(n, x)), 2),
    "moved on": lambda n, x: total(n, n.transpose(n.mul(x, first(n, x)), [0, 2, 1])),
}  # fmt: skip
RIGHT: dict[str, Write] = {
    "another element first": lambda n, x: total(n, n.mul(x, n.narrow(x, 1, 1, 1))),
    "the same place": lambda n, x: total(n, n.mul(x, placed(n, n.narrow(x, 1, 0, 2), 0))),
    "the same read": lambda n, x: total(n, n.mul(n.narrow(x, 1, 0, 2), n.narrow(x, 1, 0, 2))),
    "another tensor": lambda n, x: total(n, n.mul(n.softmax(x, 1), first(n, x))),
    "repeated": lambda n, x: total(n, n.mul(x, n.expand(first(n, x), [3, 4, 6]))),
    "a product reads it": lambda n, x: n.matmul(n.mul(x, first(n, x)), x, transpose_b=True),
    "the result": lambda n, x: n.mul(x, first(n, x)),
}  # fmt: skip


def copies(network: Network) -> int:
    return sum(layer.outputs[0].name.endswith(".copy") for layer in network.layers)


def made(write: Write, *inputs: tuple[torch.dtype, tuple[int | None, ...]]) -> NetworkCase:
    return NetworkCase("reads", write, inputs or (X,))


@pytest.mark.parametrize("name", MISTAKEN)
def test_mistakable_reads_get_a_copy_that_changes_no_number(name: str) -> None:
    case = made(MISTAKEN[name])
    network = set_apart(case.network())
    assert copies(network) == (2 if "cat" in name else 1)
    feeds = case.feeds(1)
    assert torch.equal(evaluate(network, feeds)["y0"], evaluate(case.network(), feeds)["y0"])
    assert set_apart(network) is network


@pytest.mark.parametrize("name", RIGHT)
def test_other_reads_get_none(name: str) -> None:
    network = made(RIGHT[name]).network()
    assert set_apart(network) is network


@pytest.mark.parametrize("name", ["one of many", "computed", "softmax"])
def test_dynamic_sizes_need_none(name: str) -> None:
    network = made(MISTAKEN[name], (F32, (None, 4, 6))).network()
    assert set_apart(network) is network


def test_the_smaller_operand_is_copied_once_for_one_reader() -> None:
    def write(net: Net, x: Tensor) -> Tensor:
        one = first(net, x)
        return net.add(total(net, net.mul(x, one)), total(net, net.sub(x, one)))

    network = set_apart(made(write).network())
    copied = [t for layer in network.layers for t in layer.outputs if t.name.endswith(".copy")]
    assert [t.shape for t in copied] == [(3, 1, 6)]


def _both(net: Net, x: Tensor) -> Tensor:
    positive = net.compare(x, 0.0, "GREATER")
    both = net.elementwise(positive, net.narrow(positive, 0, 0, 1), "AND")
    return net.reduce(net.cast(both, F32), "SUM", [0], False)


@pytest.mark.parametrize(
    ("write", "inputs"),
    [
        (_both, (F32, (3, 4))),
        (lambda n, x: total(n, n.mul(x, first(n, x))), (F32, (1, 4, 1, 2, 1, 2, 1, 3))),
        *[
            (lambda n, x: total(n, n.mul(x, first(n, x))), (dtype, (3, 4)))
            for dtype in (F16, BF16, I32, I64)
        ],
    ],
    ids=["bool", "rank 8", "float16", "bfloat16", "int32", "int64"],
)
def test_a_copy_is_built_for_every_dtype_and_rank(
    write: Write, inputs: tuple[torch.dtype, tuple[int | None, ...]]
) -> None:
    case = made(write, inputs)
    network = set_apart(case.network())
    assert copies(network) == 1
    options = EngineOptions((Profile("p", ()),), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), network, border(case), options)


def test_sizes_are_never_copied() -> None:
    """They are computed on the host, where TensorRT knows fewer layers."""

    def write(net: Net, x: Tensor) -> Tensor:
        n = net.size(x, 0)
        twice = net.concat([net.vector([n]), net.vector([n])], 0)
        return net.sub(total(net, x), net.cast(net.reduce(twice, "SUM", [0], True), F32))

    network = made(write, (F32, (None, 4, 6))).network()
    assert set_apart(network) is network


def test_an_empty_tensor_is_not_copied() -> None:
    network = made(MISTAKEN["one of many"], (F32, (0, 4, 6))).network()
    assert set_apart(network) is network
