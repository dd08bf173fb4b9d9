"""The layer cases of tests/compiler on real engines: the CPU evaluator tells the truth."""

from __future__ import annotations

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, build_engine
from compiler.network.evaluate import evaluate
from enginebundle.format.spec import Profile, Range
from tests.compiler.network.cases import CASES
from tests.compiler.network.test_layers import border
from tests.gpu.execute import execute

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_agrees_with_evaluator(case):  # type: ignore[no-untyped-def]
    network = case.network()
    trt = tensorrt_rtx.module()
    options = EngineOptions((Profile("p", (("n", Range(2, 3, 5)),)),), capabilities=("sm_80",))
    engine = build_engine(trt, network, border(case), options)
    for n in (2, 3, 5):
        feeds = case.feeds(n)
        got, want = execute(trt, engine, feeds), evaluate(network, feeds)
        for name, expected in want.items():
            torch.testing.assert_close(
                got[name], expected, atol=case.atol, rtol=case.rtol, equal_nan=True
            )
