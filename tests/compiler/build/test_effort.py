"""What an effort tells the builder; full TensorRT's names are those of TensorRT-RTX's real config."""

from __future__ import annotations

import types
from typing import Any

import pytest

from compiler.build.aids import GIB, Aid, Aids, limit_workspace
from compiler.build.builder import EngineOptions
from compiler.build.effort import EFFORTS, set_effort
from enginebundle.format.spec import Profile

rtx = pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def trt() -> Any:
    """TensorRT-RTX under TensorRT's name: the same classes, and nothing runs."""
    module = types.ModuleType("tensorrt")
    module.__dict__.update({k: v for k, v in vars(rtx).items() if k != "__name__"})
    return module


@pytest.fixture
def config() -> Any:
    return rtx.Builder(rtx.Logger(rtx.Logger.ERROR)).create_builder_config()


JIT = 1 << int(rtx.TacticSource.JIT_CONVOLUTIONS)
DEFAULT = (3, True)
"""The optimization level, and whether convolutions may be compiled while building."""


@pytest.mark.parametrize(
    ("effort", "set_to"), [("fast", (0, True)), ("default", DEFAULT), ("max", (5, True))]
)
def test_level_and_sources(trt: Any, config: Any, effort: str, set_to: tuple[int, bool]) -> None:
    set_effort(trt, config, effort)
    sources = config.get_tactic_sources()
    assert (config.builder_optimization_level, bool(sources & JIT)) == set_to
    assert sources & ~JIT, "the other sources stay"


@pytest.mark.parametrize("effort", EFFORTS)
def test_tensorrt_rtx_is_left_alone(config: Any, effort: str) -> None:
    set_effort(rtx, config, effort)
    found = config.builder_optimization_level, bool(config.get_tactic_sources() & JIT)
    assert found == DEFAULT


def test_the_workspace_is_three_quarters_in_whole_gib(trt: Any, config: Any) -> None:
    assert limit_workspace(trt, config, 10 * GIB + 5) == 7 * GIB
    assert config.get_memory_pool_limit(rtx.MemoryPoolType.WORKSPACE) == 7 * GIB
    assert limit_workspace(trt, config, GIB) is None
    assert config.get_memory_pool_limit(rtx.MemoryPoolType.WORKSPACE) == 7 * GIB


def test_what_a_layer_s_timing_may_depend_on() -> None:
    options = EngineOptions((Profile("p", ()),), tf32=True, capabilities=("sm_89",), effort="max")
    found = options.without_sizes
    assert found.items() >= {"tf32": True, "effort": "max"}.items()
    assert not found.keys() & {"profiles", "capabilities"}


def test_tensorrt_tells_what_it_chose_and_tensorrt_rtx_is_not_asked(trt: Any, config: Any) -> None:
    usual = config.profiling_verbosity
    Aid(rtx, config, Aids(), {})
    assert config.profiling_verbosity == usual
    Aid(trt, config, Aids(), {})
    assert config.profiling_verbosity == rtx.ProfilingVerbosity.DETAILED
