"""Names move, versions do not, and a store that fails is told apart from a bundle that makes no
sense. What steps hand over is written by hand here: no compiler is needed to publish."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from enginebundle.errors import ConflictError, StoreError
from enginebundle.format.digest import canonical_json, digest_bytes
from enginebundle.format.evidence import CaseResult, Evidence
from enginebundle.format.move import stamp
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Toolchain
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from orchestrator.plan.keys import key
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.report.exit_codes import exit_code
from orchestrator.run.assemble import assemble
from orchestrator.run.proofs import shortfall
from orchestrator.run.publish import Publisher
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


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))


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
    evidence = Evidence(digest_bytes(b"other"), CPU, False, {}, Toolchain(()), (), "2024-05-01")
    task = Task(TaskId("m", "validate", CPU), {"name": "m"}, ("m/publish",), ANY)
    published = {"m/publish": {"version": 1, "index": version.digest}}
    blob = store.put_blob(evidence.to_bytes())
    outcome = publisher.finish(task, published, Built({"evidence": blob}, 1.0))
    assert "evidence about index" in outcome.message
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


def prove(publisher, number, passed=True, target=CPU, arch=None):
    """Evidence about a version, signed as the newest."""
    version = publisher.store.resolve(f"m@{number}")
    worst = 0.5 if passed else 2.0
    found = Evidence(
        version.digest, target, passed, {"arch": arch}, Toolchain(()),
        (CaseResult("one", "y", 0.0, worst, passed),), datetime.now(UTC).isoformat(),
    )  # fmt: skip
    blob = publisher.store.put_blob(found.to_bytes())
    task = Task(TaskId("m", "validate", target), {"name": "m"}, ("m/publish",), ANY)
    published = {"m/publish": {"version": number, "index": version.digest}}
    return task, published, Built({"evidence": blob, "passed": passed}, 1.0)


def finished(publisher, *arguments, **more):
    return publisher.finish(*prove(publisher, *arguments, **more))


def promoted(publisher, number):
    return publisher.promote(PROMOTE, {"m/publish": {"version": number}})


def test_an_alias_moves_only_when_what_was_proved_is_proved_again(store, publisher):
    versions(publisher, [b"a", b"b"])
    promoted(publisher, 1)
    finished(publisher, 1)
    kept = promoted(publisher, 2)
    assert isinstance(kept, Blocked)
    assert store.aliases("m") == {"latest": 1}
    assert "m:latest stays at version 1" in kept.why
    assert "in version 2 they are not: torch:cpu (pending)" in kept.why
    assert "`kiln validate m@2 --target torch:cpu`" in kept.why
    assert "--allow-unproved" in kept.why
    finished(publisher, 2, passed=False)
    assert "torch:cpu (failed)" in promoted(publisher, 2).why
    assert isinstance(finished(publisher, 2), Built)
    assert isinstance(promoted(publisher, 2), Built)
    assert store.aliases("m") == {"latest": 2}


def test_an_alias_moves_when_nothing_was_proved_or_it_is_asked_to(store, publisher):
    versions(publisher, [b"a", b"b", b"c"])
    promoted(publisher, 1)
    assert isinstance(promoted(publisher, 2), Built), "version 1 was never proved"
    finished(publisher, 2)
    assert isinstance(promoted(publisher, 3), Blocked)
    forced = Publisher(store, publisher.signer, allow_unproved=True)
    assert isinstance(promoted(forced, 3), Built)


def test_an_alias_does_not_leave_a_target_that_the_new_version_lacks(store, publisher):
    made, task = with_target(store, "rtx:sm_89")
    publisher.publish(task, made)
    promoted(publisher, 1)
    finished(publisher, 1, target=Target.parse("rtx:sm_89"), arch="sm_89")
    versions(publisher, [b"b"])
    finished(publisher, 2)
    assert "rtx:sm_89 (absent)" in promoted(publisher, 2).why
    assert store.aliases("m") == {"latest": 1}


def test_a_pass_of_day_1_does_not_outlive_a_failure_of_day_2(store, publisher):
    """The result of day 1 is in the store, so a run on day 3 validates nothing itself."""
    versions(publisher, [b"a"])
    first = prove(publisher, 1)
    assert isinstance(publisher.finish(*first), Built)
    again = Publisher(store, publisher.signer)
    cached = Cached(first[2].output)
    assert again.finish(*first[:2], cached) is cached
    assert len(store.evidence(store.resolve("m@1"))) == 1, "signed once"
    finished(again, 1, passed=False)
    third = Publisher(store, publisher.signer)
    outcome = third.finish(*first[:2], cached)
    assert isinstance(outcome, Failed)
    assert outcome.code == "accuracy"
    assert "2 times what its tolerance allows" in outcome.message
    assert "measured on 20" in outcome.message, "it says that this is newer"


def test_evidence_that_was_taken_away_fails_the_run(store, publisher, tmp_path):
    versions(publisher, [b"a"])
    first = prove(publisher, 1)
    publisher.finish(*first)
    finished(publisher, 1, passed=False)
    (tmp_path / "store/bundles/m/evidence").joinpath(
        store.resolve("m@1").digest.removeprefix("sha256:"), "torch-cpu", "2.json"
    ).unlink()
    outcome = Publisher(store, publisher.signer).finish(*first[:2], Cached(first[2].output))
    assert isinstance(outcome, Failed)
    assert outcome.code == "evidence"
    assert "evidence is missing" in outcome.message


def test_a_key_that_may_not_sign_bundles_publishes_none(store, publisher):
    """Nothing is left in the store that this machine itself would refuse."""
    file = Trust.default().where / "own.pub"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(publisher.signer.public_line() + "may: evidence")
    found = publisher.publish(PUBLISH, upstream(store))
    assert isinstance(found, Failed)
    assert found.code == "untrusted"
    assert "can't sign bundles of m: here it may sign only evidence" in found.message
    assert store.versions("m") == []
    file.write_text(publisher.signer.public_line() + "names: m")
    assert isinstance(Publisher(store, publisher.signer).publish(PUBLISH, upstream(store)), Built)


def test_what_another_machine_signed_is_not_passed_off_as_published(store, publisher):
    """A second machine with another key: the same content, the same results, and nothing opens."""
    made = upstream(store)
    outcome = publisher.publish(PUBLISH, made)
    second = Publisher(store, Signer.generate())
    for found in (
        second.finish(PUBLISH, made, Cached(outcome.output)),
        second.publish(PUBLISH, made),
    ):
        assert isinstance(found, Failed)
        assert found.code == "untrusted"
        assert (
            f"signed by key {publisher.signer.key_id}, which is not trusted here" in found.message
        )
        assert exit_code([found]) == 1
    assert len(store.versions("m")) == 1
    assert isinstance(publisher.finish(PUBLISH, made, Cached(outcome.output)), Cached)


REPORT = {
    "engine_nodes": 0, "torch_nodes": 7,
    "reasons": [{"op": "aten.sort.stable", "code": "dtype", "detail": "no bool", "remedy": "cast", "count": 7}],
}  # fmt: skip


@pytest.mark.parametrize("target", ["rtx:sm_89", "trt:sm_90"])
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("kind", ["torch_graph", "engine"])
@pytest.mark.parametrize("made", [Built, Cached])
def test_a_target_without_any_engine_fails_unless_that_is_allowed(
    store, publisher, target, allowed, kind, made
):
    more = {"allow_torch": True} if allowed else {}
    task = Task(
        TaskId("m", "build", Target.parse(target), "any"), {"target": target, **more}, (), ANY
    )
    segments = [{"kind": "torch_graph"}, {"kind": kind}]
    report = store.put_blob(canonical_json(REPORT))
    outcome = made({"part": {"segments": segments, "profiles": ["any"]}, "report": report}, 1.0)
    found = publisher.finish(task, {}, outcome)
    if allowed or kind == "engine":
        assert found is outcome
    else:
        assert found.code == "no-engine"
        assert f"{target} ended without any engine: 7 of 7 nodes run in torch" in found.message
        assert "7 x aten.sort.stable (dtype: no bool); cast" in found.message
        assert "set `allow_torch: true`" in found.message


def test_a_target_for_torch_needs_no_engine(publisher):
    task = Task(TaskId("m", "build", CPU), {"target": "torch:cpu"}, (), ANY)
    outcome = Built({"part": {"segments": [{"kind": "torch_graph"}]}}, 1.0)
    assert publisher.finish(task, {}, outcome) is outcome


def bare(store):
    """The alias as it was written before aliases were signed."""
    slot = store.pointer("m", "latest").slot + 1
    path = f"bundles/m/aliases/latest/{slot}.json"
    store.storage.put(path, canonical_json({"version": store.aliases("m")["latest"]}))


def set_back(store):
    store.storage.remove("bundles/m/aliases/latest/2.json")


def strange(store):
    store.set_alias("m", "latest", 1, signer=Signer.generate())


def damaged(store):
    store.storage.put("bundles/m/aliases/latest/3.json", b"{")


@pytest.mark.parametrize("harm", [bare, set_back, strange, damaged])
def test_an_alias_that_loaders_refuse_is_signed_anew(store, publisher, harm):
    """Also if it says what it should: else a run that changes nothing would leave it so."""
    versions(publisher, [b"a", b"b"])
    promoted(publisher, 2)
    promoted(publisher, 1)
    harm(store)
    trust = publisher.proofs.trust
    assert (
        store.standing(store.pointer("m", "latest") if harm is not damaged else None, trust) is None
    )
    assert isinstance(promoted(publisher, 1), Built)
    assert store.resolve("m:latest", trust).number == 1
    assert isinstance(promoted(publisher, 1), Cached)


def test_a_promotion_keeps_the_lifetime_and_renews_it(store, publisher):
    versions(publisher, [b"a", b"b"])
    trust = publisher.proofs.trust
    store.set_alias("m", "latest", 1, signer=publisher.signer, lifetime=timedelta(days=4))
    assert isinstance(promoted(publisher, 1), Cached)
    promoted(publisher, 2)
    move = store.move(store.pointer("m", "latest"), trust)
    assert (move.sequence, move.lifetime) == (2, timedelta(days=4))
    then = datetime.now(UTC) - timedelta(days=3)
    old = replace(move, sequence=3, date=stamp(then), expires=stamp(then + timedelta(days=4)))
    record = {"version": 2, "move": old.to_bytes().decode()}
    record["signature"] = publisher.signer.sign(old.to_bytes()).decode()
    store.storage.put("bundles/m/aliases/latest/3.json", canonical_json(record))
    assert isinstance(promoted(publisher, 2), Built)
    renewed = store.move(store.pointer("m", "latest"), trust)
    assert (renewed.sequence, renewed.version, renewed.lifetime) == (4, 2, timedelta(days=4))


def test_an_alias_that_stands_is_asked_about_twice(store, publisher, monkeypatch):
    """A run that changes nothing lists the moves, and reads the last."""
    versions(publisher, [b"a"])
    promoted(publisher, 1)
    asked = []
    for verb in ("get", "children", "files", "size", "create", "put"):
        real = getattr(store.storage, verb)
        monkeypatch.setattr(
            store.storage, verb,
            lambda *given, verb=verb, real=real: asked.append(verb) or real(*given),
        )  # fmt: skip
    assert isinstance(promoted(publisher, 1), Cached)
    assert asked == ["children", "get"]
