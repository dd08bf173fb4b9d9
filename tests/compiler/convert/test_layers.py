"""Every layer kind: evaluated by torch, built by TensorRT-RTX, refused where TensorRT would."""

from __future__ import annotations

import pytest
import torch

from compiler.backends import tensorrt_rtx
from compiler.backends.builder import EngineOptions, build_engine
from compiler.convert.emit import EMITTERS
from compiler.convert.evaluate import EVALUATORS, evaluate
from compiler.convert.layers import NetworkError
from compiler.convert.net import Net
from enginebundle.graph import Graph
from enginebundle.spec import Profile, Range, TensorSpec
from tests.compiler.convert.networks import CASES


def border(case) -> Graph:  # type: ignore[no-untyped-def]
    """The inputs of a case as a graph's, for optimization profiles."""
    specs = tuple(
        TensorSpec(
            f"x{i}", str(d).removeprefix("torch."), tuple("n" if s is None else s for s in sizes)
        )
        for i, (d, sizes) in enumerate(case.inputs)
    )
    return Graph(specs, (), (), (), ())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer_evaluates_and_builds(case):  # type: ignore[no-untyped-def]
    network = case.network()
    for n in (2, 3, 5):
        assert evaluate(network, case.feeds(n))
    profile = Profile("p", (("n", Range(2, 3, 5)),))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), network, border(case), options)


def test_every_kind_is_emitted_evaluated_and_covered():
    kinds = {layer.kind for case in CASES for layer in case.network().layers}
    assert set(EMITTERS) == set(EVALUATORS)
    assert kinds == set(EMITTERS)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda n, x: n.elementwise(x, n.scalar(1, torch.int64), "SUM"), "dtypes"),
        (lambda n, x: n.unary(x, "NOT"), "wants bool"),
        (lambda n, x: n.reduce(n.cast(x, torch.bool), "SUM", [0], False), "does not reduce bool"),
        (lambda n, x: n.cast(x, torch.float64), "no such type"),
        (lambda n, x: n.reshape(x, [1] * 9), "rank 9"),
        (lambda n, x: n.transpose(x, [0, 0]), "permutation"),
        (lambda n, x: n.matmul(n.cast(x, torch.int64), n.cast(x, torch.int64)), "one float type"),
    ],
)
def test_layers_that_tensorrt_would_refuse(write, text):  # type: ignore[no-untyped-def]
    net = Net()
    x = net.input("x", torch.float32, (None, 3))
    with pytest.raises(NetworkError, match=text):
        write(net, x)
