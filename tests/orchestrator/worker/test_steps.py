"""The steps, one after another, on a tiny model: each reads only what the one before wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compiler.refused import Refused
from enginebundle.errors import NotFoundError
from enginebundle.format.digest import parse_json
from enginebundle.format.evidence import Evidence
from enginebundle.format.index import Index
from enginebundle.format.spec import Target
from enginebundle.serve.loader import load
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.run.assemble import assemble
from orchestrator.run.publish import Publisher
from orchestrator.worker import steps
from orchestrator.worker.outcome import Built, Cached, Failed
from orchestrator.worker.reproduce import reproduce

BUILDERS = str(Path(__file__).parents[1] / "builders")
ANY = Resources(1.0, 1 << 30, 60.0)
PROFILES = [
    {"name": "small", "ranges": {"b": [1, 2, 4]}},
    {"name": "large", "ranges": {"b": [1, 8, 16]}},
]
TRACE = {
    "source": {
        "entrypoint": "tiny_models:tiny",
        "program": None,
        "kwargs": {"width": 16},
        "search_path": [BUILDERS],
        "trusted": False,
    },
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["b", 4]}],
    "profiles": PROFILES,
    "goldens": {
        "entrypoint": None,
        "kwargs": {},
        "file": None,
        "seed": 1,
        "cases": 3,
        "high": {},
    },
    "precision": "fp32",
}
BUILD = {
    "target": "torch:cpu",
    "profiles": PROFILES,
    "precision": "fp32",
    "torch_executed_modules": [],
    "torch_executed_ops": [],
    "require_full_compilation": False,
    "min_nodes": 1,
    "tolerances": {"y": {"atol": 0.5, "rtol": 0.25}},
}
PUBLISH = {
    "name": "m",
    "labels": {"version": "2024-05"},
    "profiles": PROFILES,
    "targets": ["torch:cpu", "rtx:sm_89"],
}


def task(step, needs, spec):
    return Task(TaskId("m", step), spec, tuple(needs), ANY, tuple(needs)[1:])


PUBLISH_TASK = task("publish", ["m/trace", "m/build/torch:cpu"], PUBLISH)
PROMOTE_TASK = task("promote", ["m/publish"], {"name": "m", "alias": "latest"})
VALIDATE_TASK = task("validate", ["m/publish"], {"name": "m", "target": "torch:cpu"})


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, and what trace and build put there."""
    store = Store.open(tmp_path_factory.mktemp("steps") / "store", create=True)
    traced = steps.run_step("trace", TRACE, {}, store.uri)
    built = steps.run_step("build", BUILD, {"m/trace": traced}, store.uri)
    return store, {"m/trace": traced, "m/build/torch:cpu": built}


@pytest.fixture
def publisher(made):
    return Publisher(made[0], default_signer(), "r1")


@pytest.fixture
def published(made, publisher):
    outcome = publisher.publish(PUBLISH_TASK, made[1])
    assert isinstance(outcome, Built), outcome
    return {"m/publish": outcome.output}


def test_trace_leaves_a_program_and_goldens(made):
    store, upstream = made
    traced = upstream["m/trace"]
    assert [spec["shape"] for spec in traced["inputs"]] == [["b", 4]]
    assert [spec["name"] for spec in traced["outputs"]] == ["y"]
    assert traced["weights_bytes"] == 4 * (4 * 16 + 16 + 16 * 3 + 3)
    assert all(store.has_blob(traced[name]) for name in ("graph", "weights"))
    for golden in traced["goldens"]:
        assert len(store.read_blob(golden["blob"])) == golden["bytes"]


def test_build_leaves_a_part_a_report_and_its_size(made):
    store, upstream = made
    built = upstream["m/build/torch:cpu"]
    assert built["part"]["profiles"] == ["small", "large"]
    assert built["bytes"] == sum(len(store.read_blob(blob)) for blob in built["blobs"])
    assert built["tolerances"] == {"y": {"atol": 0.5, "rtol": 0.25}}
    assert built["evaluated"]["worst"] <= 1
    assert parse_json(store.read_blob(built["report"]))


def test_a_build_names_its_engines_beside_its_result(made):
    pytest.importorskip("tensorrt_rtx")
    store, upstream = made
    spec = BUILD | {"target": "rtx:sm_89", "profiles": PROFILES[:1]}
    built = steps.run_step("build", spec, {"m/trace": upstream["m/trace"]}, store.uri)
    (segment,) = built["part"]["segments"]
    ((name, key),) = built["provenance"]["engines"][0].items()
    assert name == "key"
    assert store.result(key)["output"]["engine"] == segment["blob"]


def test_what_was_not_chosen_by_timing_can_t_be_replayed(made):
    pytest.importorskip("tensorrt_rtx")
    store, upstream = made
    spec = BUILD | {"target": "rtx:sm_89", "profiles": PROFILES[:1]}
    needs = {"m/trace": upstream["m/trace"]}
    built = steps.run_step("build", spec, needs, store.uri)
    keys = [one["key"] for one in built["provenance"]["engines"]]
    with pytest.raises(Refused, match="does not know which tactics") as refused:
        reproduce(spec, needs, store.uri, keys)
    assert refused.value.code == "replay"
    with pytest.raises(Refused, match=r"no build of the engine sha256:.* is known"):
        reproduce(spec, needs, store.uri, [])


def test_a_refusal_goes_through_with_its_own_code():
    source = TRACE["source"] | {"entrypoint": "tiny_models:absent"}
    with pytest.raises(Refused) as refused:
        steps.trace(TRACE | {"source": source}, {}, None)
    assert refused.value.code == "function"
    assert "absent" in str(refused.value)


def test_a_bundle_is_published_once_promoted_and_loaded(made, publisher, published):
    store, upstream = made
    again = publisher.publish(PUBLISH_TASK, upstream)
    assert again.output == published["m/publish"]
    assert len(store.versions("m")) == 1, "the same content is the same version"
    index = Index.from_bytes(store.read_index(store.versions("m")[0])[0])
    assert [str(v.target) for v in index.variants] == ["torch:cpu"], "the other was not built"
    assert index.labels == (("version", "2024-05"),)
    assert {golden.blob for golden in index.goldens} <= dict(index.blobs).keys()

    assert isinstance(publisher.promote(PROMOTE_TASK, published), Built | Cached)
    assert isinstance(publisher.promote(PROMOTE_TASK, published), Cached)
    assert store.resolve("m").digest == published["m/publish"]["index"]
    session = load(f"{store.uri}/m", allow_pending=True)
    assert session(x=torch.zeros(2, 4))["y"].shape == (2, 3)


def test_validation_is_proved_by_the_worker_and_signed_by_the_driver(made, publisher, published):
    store, _ = made
    spec = VALIDATE_TASK.spec | {"trust": publisher.trust}
    output = steps.run_step("validate", spec, published, store.uri)
    assert output["passed"]
    version = store.resolve(f"m@{published['m/publish']['index']}")
    before = len(store.evidence(version))
    outcome = Built(output, 1.0)
    assert publisher.finish(VALIDATE_TASK, published, outcome) is outcome
    assert len(store.evidence(version)) == before + 1
    assert load(f"{store.uri}/m@1").selection[0].state == "validated"
    evidence = Evidence.from_bytes(store.read_blob(output["evidence"]))
    assert evidence.machine["runtimes"]["torch"] == str(torch.__version__)


def test_a_worker_needs_the_publishers_key_to_prove_anything(
    made, published, monkeypatch, tmp_path
):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "another machine"))
    store, _ = made
    spec = VALIDATE_TASK.spec | {"trust": []}
    with pytest.raises(Exception, match="not trusted here"):
        steps.run_step("validate", spec, published, store.uri)


def test_a_variant_that_misses_its_goldens_fails_the_accuracy_gate(made, publisher):
    """The goldens are those of another model: what was built is right, but not what was asked."""
    store, upstream = made
    source = TRACE["source"] | {"kwargs": {"width": 16, "seed": 5}}
    other = steps.run_step("trace", TRACE | {"source": source}, {}, store.uri)
    wrong = upstream | {"m/trace": upstream["m/trace"] | {"goldens": other["goldens"]}}
    published = {"m/publish": publisher.publish(PUBLISH_TASK, wrong).output}
    spec = VALIDATE_TASK.spec | {"trust": publisher.trust}
    output = steps.run_step("validate", spec, published, store.uri)
    assert not output["passed"]
    outcome = publisher.finish(VALIDATE_TASK, published, Built(output, 1.0))
    assert isinstance(outcome, Failed)
    assert outcome.code == "accuracy"
    assert "outputs are outside their tolerance on torch:cpu; worst: golden" in outcome.message
    reference = f"m@{published['m/publish']['index']}"
    with pytest.raises(Exception, match="failed its validation"):
        load(f"{store.uri}/{reference}", target=Target.parse("torch:cpu"), allow_pending=True)


def test_a_target_of_which_a_profile_failed_has_no_variant(made):
    upstream = made[1]
    whole = upstream["m/build/torch:cpu"]
    part = whole["part"] | {"profiles": ["small"]}
    half = upstream | {"m/build/rtx:sm_89/small": whole | {"part": part}}
    assert [str(v.target) for v in assemble(PUBLISH, half).variants] == ["torch:cpu"]


def test_a_target_that_was_not_built_can_t_be_proved(made, publisher, published):
    spec = {"name": "m", "target": "rtx:sm_89", "trust": publisher.trust}
    with pytest.raises(NotFoundError, match="has no variant rtx:sm_89; it has torch:cpu"):
        steps.run_step("validate", spec, published, made[0].uri)
