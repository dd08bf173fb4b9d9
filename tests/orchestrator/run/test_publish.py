"""Names move, versions do not, and a store that fails is told apart from a bundle that makes no
sense. What steps hand over is written by hand here: no compiler is needed to publish."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from enginebundle.errors import ConflictError, StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import CaseResult, Evidence
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Toolchain
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from orchestrator.plan.keys import key
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.run.publish import Publisher, assemble, shortfall
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed

ANY = Resources(1.0, 1, 1.0)
CPU = Target.parse("torch:cpu")
PROFILES = [{"name": "any", "ranges": {"b": [1, 2, 4]}}]
X = {"name": "x", "dtype": "float32", "shape": ["b", 4]}
Y = {"name": "y", "dtype": "float32", "shape": ["b", 3]}
PUBLISH = Task(
    TaskId("m", "publish"),
    {"name": "m", "labels": {}, "profiles": PROFILES, "targets": ["torch:cpu"]},
    ("m/trace", "m/build/torch:cpu"), ANY, ("m/build/torch:cpu",),
)  # fmt: skip
PROMOTE = Task(TaskId("m", "promote"), {"name": "m", "alias": "latest"}, ("m/publish",), ANY)


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def publisher(store):
    return Publisher(store, Signer.generate(), "r1")


def upstream(store, content=b"graph"):
    graph, weights, golden = map(store.put_blob, (content, b"weights", b"golden"))
    segment = {
        "kind": "torch_graph", "blob": graph, "weights": weights, "inputs": [X], "outputs": [Y],
        "profiles": [],
    }  # fmt: skip
    return {
        "m/trace": {
            "program": digest_bytes(content),
            "inputs": [X],
            "outputs": [Y],
            "goldens": [{"name": "one", "blob": golden, "bytes": 6}],
        },
        "m/build/torch:cpu": {
            "part": {"profiles": ["any"], "segments": [segment], "returns": ["y"]},
            "toolchain": {"torch": "2.13.0"},
            "precision": "fp32",
            "tolerances": {"y": {"atol": 1e-5, "rtol": 1e-5}},
            "blobs": {graph: len(content), weights: 7},
        },
    }


def versions(publisher, contents):
    return [
        publisher.publish(PUBLISH, upstream(publisher.store, content)).output["version"]
        for content in contents
    ]


def test_new_content_is_a_new_version_and_old_content_is_not(publisher):
    assert versions(publisher, [b"a", b"b", b"a", b"b"]) == [1, 2, 1, 2]


def test_the_result_is_kept_under_the_tasks_key(store, publisher):
    outcome = publisher.publish(PUBLISH, upstream(store))
    assert outcome.output == {"version": 1, "index": store.resolve("m@1").digest}
    record = store.result(key(PUBLISH, upstream(store)))
    assert record["output"] == outcome.output
    assert record["provenance"]["run"] == "r1"


def test_the_alias_follows_what_was_promoted_last_even_backwards(store, publisher):
    versions(publisher, [b"a", b"b"])
    moves = []
    for number in (1, 2, 2, 1):
        moves.append(type(publisher.promote(PROMOTE, {"m/publish": {"version": number}})))
        assert store.aliases("m") == {"latest": number}
    assert moves == [Built, Built, Cached, Built]


def test_an_alias_to_a_version_that_is_not_there_fails_and_moves_nothing(store, publisher):
    versions(publisher, [b"a"])
    outcome = publisher.promote(PROMOTE, {"m/publish": {"version": 7}})
    assert isinstance(outcome, Failed)
    assert outcome.code == "publish"
    assert "has no version 7 of 'm'" in outcome.message
    assert store.aliases("m") == {}


def with_target(store, target):
    """`upstream` with the same build for another target as well, and the task that publishes both."""
    made = upstream(store)
    made[f"m/build/{target}"] = made["m/build/torch:cpu"]
    targets = ["torch:cpu", target]
    builds = tuple(f"m/build/{one}" for one in targets)
    spec = PUBLISH.spec | {"targets": targets}
    return made, replace(PUBLISH, spec=spec, needs=("m/trace", *builds), optional=builds)


@pytest.mark.parametrize(("blocked", "moves"), [("trt:sm_90", False), ("trt:sm_80", True)])
def test_an_alias_does_not_leave_engines_behind_that_are_only_blocked(
    store, monkeypatch, tmp_path, blocked, moves
):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    publisher = Publisher(store, default_signer())
    made, task = with_target(store, "trt:sm_90")
    assert publisher.publish(task, made).output["version"] == 1
    publisher.promote(PROMOTE, {"m/publish": {"version": 1}})
    assert versions(publisher, [b"b"]) == [2]
    build = f"m/build/{blocked}"
    promote = replace(PROMOTE, needs=("m/publish", build), blockable=(build,))
    outcome = publisher.promote(promote, {"m/publish": {"version": 2}})
    assert store.aliases("m") == {"latest": 2 if moves else 1}
    assert isinstance(outcome, Built if moves else Blocked)
    if not moves:
        assert "m:latest stays where it is: that version has trt:sm_90" in outcome.why
    both = {"m/publish": {"version": 2}, build: {}}
    publisher.promote(promote, both)
    assert store.aliases("m") == {"latest": 2}, "it was built after all"


def test_another_mover_in_between_is_worth_another_try(publisher, monkeypatch):
    versions(publisher, [b"a", b"b"])

    def moved(*args, **kwargs):
        raise ConflictError("alias m:latest points at 2, expected 1: somebody moved it")

    monkeypatch.setattr(Store, "set_alias", moved)
    outcome = publisher.promote(PROMOTE, {"m/publish": {"version": 1}})
    assert (outcome.code, "somebody moved it" in outcome.message) == ("infra", True)


def test_a_store_that_fails_is_infrastructure(store, publisher, monkeypatch):
    made = upstream(store)

    def lost(*args):
        raise StoreError("connection reset")

    monkeypatch.setattr(Store, "publish", lost)
    outcome = publisher.publish(PUBLISH, made)
    assert outcome == Failed("infra", "StoreError: connection reset")


def test_contents_that_make_no_sense_are_not_published(store, publisher):
    made = upstream(store)
    made["m/build/torch:cpu"]["part"]["returns"] = ["z"]
    outcome = publisher.publish(PUBLISH, made)
    assert isinstance(outcome, Failed)
    assert outcome.code == "publish"
    assert store.versions("m") == []


def test_every_blob_is_listed_with_its_size(store):
    made = upstream(store)
    index = assemble(PUBLISH.spec, made)
    for digest, size in index.blobs:
        assert len(store.read_blob(digest)) == size
    assert len(index.blobs) == 3


def test_workers_get_the_public_key_only(publisher):
    assert [base64.b64decode(key) for key in publisher.trust] == [publisher.signer.public]


def test_evidence_about_another_bundle_is_not_filed(store, publisher):
    versions(publisher, [b"a"])
    version = store.resolve("m@1")
    evidence = Evidence(
        digest_bytes(b"other"), Target.parse("torch:cpu"), True, {}, Toolchain(()), (), "2024-05-01"
    )
    task = Task(TaskId("m", "validate", CPU), {"name": "m"}, ("m/publish",), ANY)
    published = {"m/publish": {"version": 1, "index": version.digest}}
    blob = store.put_blob(evidence.to_bytes())
    outcome = publisher.finish(task, published, Built({"evidence": blob}, 1.0))
    assert "is about index" in outcome.message
    assert store.evidence(version) == []


@pytest.mark.parametrize(
    ("cases", "text"),
    [
        (
            [("g", "y", 0.5, 12.0, False), ("h", "y", 0.1, 0.9, True)],
            "1 of 2 outputs are outside their tolerance on torch:cpu; worst: golden 'g', output "
            "'y': max |error| 0.5, 12 times what its tolerance allows",
        ),
        (
            [("g", "y", 0.5, 12.0, False), ("h", "y", -1.0, -1.0, False)],
            "worst: golden 'h', output 'y': wrong shape or dtype, or a NaN where the golden has none",
        ),
    ],
)
def test_a_shortfall_names_the_worst_case(cases, text):
    results = tuple(CaseResult(*case) for case in cases)
    evidence = Evidence(
        "sha256:" + "0" * 64, Target.parse("torch:cpu"), False, {}, Toolchain(()), results, "now"
    )
    assert text in shortfall(evidence)
