"""What goes along with a build, by the signatures of TensorRT 10.6, 10.15 and 11.4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.build import aids as aids_of
from compiler.build.aids import GIB, Aids
from compiler.build.builder import EngineOptions, make_engine
from compiler.build.replay import Proved, ReplayRefused
from compiler.build.timing_cache import lend
from compiler.convert.net import Net
from compiler.network import emit
from compiler.network.network import Network
from enginebundle.format.digest import digest_json, parse_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.storage.store import Store
from tests.contract.record import WHEELS, recorded
from tests.contract.strict import module

GRAPH = Graph((TensorSpec("x", "float32", (2, 3)),), (), (), (), ())
LAYERS = [{"Name": "exp", "LayerType": "PointWise", "TacticName": "fast"}]
KEPT = b"timings"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors here have no shapes, and the GPU has nine GiB free."""
    monkeypatch.setattr(emit, "_check", lambda layer, tensor, output, dtype: None)
    monkeypatch.setattr(aids_of, "free_memory", lambda: 9 * GIB)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


def network() -> Network:
    net = Net()
    return net.finish({"y": net.unary(net.input("x", torch.float32, (2, 3)), "EXP")}, {})


def tensorrt(version: str, told: dict[str, Any], tactic: str = "fast") -> Any:
    """The module, which builds nothing and keeps in `told` what it was told."""
    found = recorded(version)

    def build(builder: Any, definition: Any, config: Any) -> bytes:
        told["config"] = config
        return b"engine"

    def flag(config: Any, flag: Any) -> None:
        told.setdefault("flags", set()).add(flag.name)

    def pool(config: Any, pool: Any, size: int) -> None:
        told[pool.name] = size

    def combine(cache: Any, other: Any, ignore: bool) -> bool:
        told["combined"] = ignore
        return True

    information = json.dumps({"Layers": [LAYERS[0] | {"TacticName": tactic}]})
    behaviour = {
        "Builder.build_serialized_network": build,
        "IBuilderConfig.set_flag": flag,
        "IBuilderConfig.set_memory_pool_limit": pool,
        "IBuilderConfig.set_timing_cache": lambda config, cache, ignore: True,
        "ITimingCache.serialize": lambda cache: KEPT,
        "ITimingCache.combine": combine,
        "ITimingCache.queryKeys": lambda cache: [],
        "EngineInspector.get_engine_information": lambda inspector, form: information,
    }
    return module("tensorrt", found, {k: v for k, v in behaviour.items() if _has(found, k)})


def _has(found: Any, name: str) -> bool:
    owner, _, member = name.partition(".")
    return member in found.get(owner, {})


@pytest.mark.parametrize("version", WHEELS)
def test_everything_that_the_builder_is_told_binds(version: str, store: Store) -> None:
    told: dict[str, Any] = {}
    trt = tensorrt(version, told)
    options = EngineOptions((Profile("p", ()),), effort="fast")
    notes = make_engine(trt, network(), GRAPH, options, Aids(store, lambda phases: True)).notes
    config = told["config"]
    assert config.builder_optimization_level == 0
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert told["WORKSPACE"] == notes["workspace"] == 6 * GIB
    assert isinstance(config.progress_monitor, trt.IProgressMonitor)
    assert store.read_blob(notes["timing_cache"]["after"]) == KEPT
    assert parse_json(store.read_blob(notes["tactics"])) == {"exp": "PointWise fast"}
    assert told.get("flags", set()) == ({"EDITABLE_TIMING_CACHE"} if version != "10.6" else set())


@pytest.mark.parametrize("version", WHEELS)
def test_a_replay_binds_or_is_refused(version: str, store: Store) -> None:
    options = EngineOptions((Profile("p", ()),))
    first = make_engine(tensorrt(version, {}), network(), GRAPH, options, Aids(store)).notes
    held = Aids(store, proved={"sha256:k": Proved.of(first)}).replaying("sha256:k")
    told: dict[str, Any] = {}
    if version == "10.6":
        with pytest.raises(ReplayRefused, match="has no editable timing cache"):
            make_engine(tensorrt(version, told), network(), GRAPH, options, held)
        return
    again = make_engine(tensorrt(version, told), network(), GRAPH, options, held).notes
    assert again["tactics"] == first["tactics"]
    assert told["flags"] == {"EDITABLE_TIMING_CACHE", "ERROR_ON_TIMING_CACHE_MISS"}
    with pytest.raises(ReplayRefused, match="exp: PointWise fast -> PointWise slow"):
        make_engine(tensorrt(version, {}, "slow"), network(), GRAPH, options, held)


@pytest.mark.parametrize("version", WHEELS)
def test_two_builds_at_once_merge(version: str, store: Store) -> None:
    """The other one's timings reach the store while this one builds."""
    told: dict[str, Any] = {}
    trt = tensorrt(version, told)
    config = object.__new__(trt.IBuilderConfig)
    loan = lend(trt, config, store, {})
    key = digest_json(loan.conditions)
    assert store.move_timing(key, 0, {"cache": store.put_blob(b"theirs")})
    assert "notes" not in loan.give_back(config)
    assert told["combined"] is False, "only what was timed on such a GPU"
    assert store.timing(key)[0] == 2
