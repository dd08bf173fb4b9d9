"""A fine-tuned model gets the engine of the first one: what each step leaves, up to TensorRT's own part.

TensorRT-RTX's real network takes the layers, names and marks; the engine itself can't be built without a
GPU, so its place is taken by the names of the weights that it would have asked for.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from compiler import pipeline
from compiler.build import segments
from compiler.build.builder import Made, _leave_out, _log
from compiler.network.emit import Emitter
from enginebundle.errors import IntegrityError
from enginebundle.format.digest import digest_json
from enginebundle.format.spec import Target
from enginebundle.runtimes import tensorrt as runtime
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.session import Session
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from orchestrator.plan.keys import engines_identity
from orchestrator.run.publish import Publisher
from orchestrator.worker import steps
from orchestrator.worker.outcome import Built
from tests.orchestrator.builders.tiny_models import tiny
from tests.orchestrator.worker.test_steps import BUILD, PROFILES, PUBLISH, TRACE, task

rtx = pytest.importorskip("tensorrt_rtx")

TARGET = "trt:sm_90"
REFIT = BUILD | {"target": TARGET, "refit": True}
NAMES = ["first.bias", "first.weight", "second.bias", "second.weight"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def builds(monkeypatch) -> list[bytes]:
    """Every engine that was built."""
    made: list[bytes] = []

    def build(trt, network, graph, options, aids, bindings) -> Made:
        log = _log(trt)
        builder = trt.Builder(log)
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        definition = builder.create_network(flags)
        emitted = Emitter(trt, definition, bindings).emit(network)
        _leave_out(definition, emitted.bound, log)
        assert all(definition.are_weights_marked_refittable(name) for name in emitted.bound)
        made.append(json.dumps(sorted(emitted.bound)).encode())
        return Made(memoryview(made[-1]))

    monkeypatch.setattr(pipeline, "_module", lambda target: rtx)
    monkeypatch.setattr(segments, "make_engine", build)
    return made


def traced(store: Store, seed: int) -> dict[str, Any]:
    source = TRACE["source"] | {"kwargs": {"width": 16, "seed": seed}}
    return steps.run_step("trace", TRACE | {"source": source}, {}, store.uri)


def built(store: Store, trace: dict[str, Any], spec: dict[str, Any] = REFIT) -> dict[str, Any]:
    return steps.run_step("build", spec, {"m/trace": trace}, store.uri)


def test_a_fine_tuned_model_needs_no_build(store, builds):
    first, second = traced(store, 0), traced(store, 1)
    assert (first["skeleton"], first["program"]) == (second["skeleton"], first["program"])
    made, again = built(store, first), built(store, second)
    assert [json.loads(engine) for engine in builds] == [NAMES], "built once"
    assert (made["refitted"], again["refitted"]) == (False, True)
    (one,), (two,) = made["part"]["segments"], again["part"]["segments"]
    assert (one["blob"], two["blob"]) == (one["blob"], one["blob"])
    assert one["weights"] != two["weights"]
    assert again["evaluated"]["worst"] <= 1


def test_the_weights_lie_once_in_a_bundle(store, builds):
    trace = traced(store, 0)
    separate = [REFIT | {"profiles": [profile]} for profile in PROFILES]
    parts = [built(store, trace, spec) for spec in separate]
    on_cpu = built(store, trace, BUILD)
    blobs = [p["part"]["segments"][0]["weights"] for p in (*parts, on_cpu)]
    assert blobs == [trace["weights"]] * 3
    assert "refitted" not in on_cpu


def test_a_build_of_refittable_engines_is_noted_for_plans(store, builds):
    trace = traced(store, 0)
    own = engines_identity(REFIT, {"m/trace": trace})
    other = engines_identity(REFIT, {"m/trace": traced(store, 1)})
    assert own == other
    assert own != engines_identity(REFIT | {"min_nodes": 2}, {"m/trace": trace})
    assert engines_identity(BUILD, {"m/trace": trace}) is None
    assert store.result(digest_json(own)) is None
    built(store, trace)
    assert store.result(digest_json(own))["identity"] == own


def test_an_rtx_target_is_refused(store):
    with pytest.raises(Exception, match="TensorRT-RTX builds refittable engines only where there"):
        built(store, traced(store, 0), REFIT | {"target": "rtx:sm_89"})


@pytest.fixture
def session(store, builds, monkeypatch):
    """A published fine-tune, and what its engines were opened with."""
    built(store, traced(store, 0))
    trace = traced(store, 1)
    upstream = {"m/trace": trace, f"m/build/{TARGET}": built(store, trace)}
    publish = task("publish", upstream, PUBLISH | {"targets": [TARGET]})
    publisher = Publisher(store, default_signer(), "r1")
    assert isinstance(publisher.publish(publish, upstream), Built)
    opened: list[dict[str, torch.Tensor]] = []

    def open_engine(data, segment, weights, host_code, cuda_graphs):
        assert sorted(weights) == json.loads(data)
        opened.append(dict(weights))
        return lambda values, profile: {}

    monkeypatch.setattr(runtime, "open_engine", open_engine)
    bundle = Bundle.open(store, store.versions("m")[0], Trust.of(default_signer().public))
    return Session(bundle, bundle.variant(Target.parse(TARGET))), opened


def test_the_loader_hands_verified_weights_to_the_engine(session):
    made, opened = session
    made.open()
    for name, tensor in tiny(16, 1).state_dict().items():
        assert torch.equal(opened[0][name], tensor)


def test_a_changed_weight_never_reaches_tensorrt(store, session):
    made, opened = session
    path = store.blob_path(made.variant.parts[0].segments[0].weights)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="expected content"):
        made.open()
    assert opened == []
