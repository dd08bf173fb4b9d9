"""Builders that die or fail without a word: the nodes at fault leave, the rest is an engine.

Both examples are real faults of TensorRT-RTX 1.5.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from compiler.build import blame
from compiler.build.aids import Aids
from compiler.build.apart import DIED, Apart
from compiler.build.builder import build_engine
from compiler.build.engine_cache import EngineCache
from compiler.build.networks import BuildRequest
from compiler.build.options import BuildRefused
from compiler.build.segments import prepare
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuiltProgram, build_program, convert_program
from compiler.program import Program
from compiler.trace.export import trace
from enginebundle.format.spec import Target, TensorSpec
from enginebundle.storage.store import Store
from tests.compiler.small_models import profile

trt = pytest.importorskip("tensorrt_rtx")

PROFILES = (profile(b=(1, 2, 4)),)
REQUEST = BuildRequest(Target("rtx", ("sm_89",)), PROFILES)


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", ("b", *shape))


class Deadly(nn.Module):
    """The same scores twice, from a scaled query and a scaled key: the builder dies of SIGSEGV."""

    inputs = tuple(spec(name, 4, 16, 8) for name in "qkvw")

    def forward(self, q: Any, k: Any, v: Any, w: Any) -> torch.Tensor:
        one = functional.scaled_dot_product_attention(q * 0.5, k * 0.25, v, scale=1.0)
        other = functional.scaled_dot_product_attention(q * 0.5, k * 0.25, w, scale=1.0)
        return torch.tanh(one + 0.6 * other)


class Wave(nn.Module):
    """A convolution and a sum with zeros: an error that names no node."""

    inputs = (spec("x", 8, 12),)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line, self.conv = nn.Linear(12, 12), nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(self.line(x))
        return torch.tanh(y + torch.zeros_like(y)) * 2


def traced(model: Any) -> Program:
    return capture(lower(trace(model, model.inputs, PROFILES)), model.inputs)


@pytest.fixture
def engines(tmp_path: Path) -> EngineCache:
    return EngineCache(Store.open(tmp_path / "store", create=True))


def kinds(built: BuiltProgram) -> list[tuple[str, int]]:
    return [(segment.kind, len(segment.graph.nodes)) for segment in built.segments]


def kept(built: BuiltProgram) -> list[Any]:
    return list(built.report["kept"])


def test_a_builder_that_dies(engines: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    program = traced(Deadly())
    with closing(Apart()) as apart:
        aids = Aids(engines.store, apart=apart)
        built = build_program(program, REQUEST, engines=engines, aids=aids)
        assert [kind for kind, _ in kinds(built)].count("engine") >= 1
        for left in kept(built):
            assert left["code"] == "builder"
            assert left["op"] == "aten.scaled_dot_product_attention.default"
            assert "died of SIGSEGV" in left["detail"]
            assert (
                f"builds the other {built.report['engine_nodes']} nodes without" in left["detail"]
            )
        # The second time, nothing is searched.
        monkeypatch.setattr(blame.Search, "nodes", None)
        again = build_program(program, REQUEST, engines=engines, aids=aids)
    assert kept(again) == kept(built)
    assert kinds(again) == kinds(built)


def test_an_error_that_names_no_node(engines: EngineCache) -> None:
    built = build_program(traced(Wave()), REQUEST, engines=engines)
    (left,) = kept(built)
    assert "CHECK(nbdims_bias" in left["detail"]
    assert built.report["engine_nodes"] == len(traced(Wave()).graph.nodes) - 1


def test_without_a_cache() -> None:
    assert len(kept(build_program(traced(Wave()), REQUEST))) == 1


def test_full_compilation_is_still_required() -> None:
    with pytest.raises(BuildRefused, match="CHECK"):
        build_program(
            traced(Wave()), BuildRequest(REQUEST.target, PROFILES, require_full_compilation=True)
        )


def test_time_is_bounded(engines: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time for a trial, all nodes leave, and the report says so."""
    monkeypatch.setattr(blame, "SECONDS", 0.0)
    built = build_program(traced(Wave()), REQUEST, engines=engines)
    assert [kind for kind, _ in kinds(built)] == ["torch_graph"]
    assert "none of its nodes could stay" in kept(built)[0]["detail"]


def test_the_process_apart() -> None:
    """It says why it died, goes on with the next engine, and its engine is the one built here."""
    program, deadly = traced(nn_tanh()), traced(Deadly())
    with closing(Apart()) as apart:
        for each, dies in ((deadly, True), (program, False)):
            converted = convert_program(each, REQUEST)
            (network,) = converted.networks
            (segment,) = converted.parts.segments
            assert network is not None
            ready = prepare(trt, network, each, REQUEST)
            if dies:
                with pytest.raises(BuildRefused, match="died of SIGSEGV") as refused:
                    apart.make_engine(trt, ready.network, segment.graph, ready.options)
                assert refused.value.code == DIED
                continue
            made = apart.make_engine(trt, ready.network, segment.graph, ready.options)
            here = build_engine(trt, ready.network, segment.graph, ready.options)
            # No two builds give the same bytes.
            assert 0.99 < len(made.engine) / len(here) < 1.01
        with pytest.raises(BuildRefused, match="took longer than 0 s"):
            apart.make_engine(trt, ready.network, segment.graph, ready.options, seconds=0.0)


def nn_tanh() -> nn.Module:
    class Tanh(nn.Module):
        inputs = (spec("x", 8),)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x)

    return Tanh()
