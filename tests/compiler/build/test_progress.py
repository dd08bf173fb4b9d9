"""Real builds that tell how far they are, and one that is stopped by its listener."""

from __future__ import annotations

import pytest
import torch

from compiler.build.aids import Aids
from compiler.build.builder import BuildRefused, EngineOptions, make_engine
from compiler.build.progress import Phase, make_monitor
from compiler.convert.net import Net
from compiler.network.network import Network
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec

trt = pytest.importorskip("tensorrt_rtx")

OPTIONS = EngineOptions((Profile("p", (("b", Range(1, 2, 4)),)),), capabilities=("sm_89",))
GRAPH = Graph((TensorSpec("x", "float32", ("b", 16)),), (), (), (), ())


def network() -> Network:
    net = Net()
    net.node = "product"
    x = net.input("x", torch.float32, (None, 16))
    for _ in range(4):
        x = net.activation(net.matmul(x, net.constant(torch.eye(16))), "RELU")
    return net.finish({"y": x}, {})


def test_a_build_tells_its_phases_and_each_step() -> None:
    told: list[tuple[Phase, ...]] = []

    def listen(phases: tuple[Phase, ...]) -> bool:
        told.append(phases)
        return True

    made = make_engine(trt, network(), GRAPH, OPTIONS, Aids(listener=listen))
    assert len(made.engine) > 1000
    assert made.notes == {}, "TensorRT-RTX depends on nothing besides its options"
    depths = {len(phases) for phases in told}
    assert max(depths) >= 2, "phases within a phase"
    outer = [phases[0] for phases in told if phases]
    assert {phase.name for phase in outer} == {outer[0].name}
    assert [p.done for p in outer] == sorted(p.done for p in outer)
    assert outer[-1].done >= outer[-1].of - 1


def test_a_listener_stops_the_build() -> None:
    steps = 0

    def listen(_: tuple[Phase, ...]) -> bool:
        nonlocal steps
        steps += 1
        return steps < 10

    with pytest.raises(BuildRefused) as refused:
        make_engine(trt, network(), GRAPH, OPTIONS, Aids(listener=listen))
    assert refused.value.code == "cancelled"
    assert steps == 10, "nobody was asked again"


def test_a_step_of_a_phase_that_is_over_is_no_error() -> None:
    told: list[tuple[Phase, ...]] = []
    monitor = make_monitor(trt, lambda phases: told.append(phases) is None)
    monitor.phase_start("outer", None, 2)
    monitor.phase_start("inner", "outer", 3)
    assert monitor.step_complete("inner", 0)
    monitor.phase_finish("inner")
    assert monitor.step_complete("inner", 1)
    assert told[2] == (Phase("outer", 0, 2), Phase("inner", 1, 3))
    assert told[3] == (Phase("outer", 0, 2),)
