"""`kiln gc`: what nothing reaches goes, what is used stays, whoever is at work meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.errors import ConflictError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.leases import SWEEP, run_path
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from orchestrator.keep import alive, collect, holder
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.report import record
from orchestrator.run.failures import Failures
from orchestrator.worker.outcome import Failed
from tests.enginebundle.examples import publish

OLD = time.time() - 10 * 86400


def age(store: Store) -> None:
    """Let all files be ten days old."""
    for path in Path(store.uri).rglob("*"):
        os.utime(path, (OLD, OLD))


def paths(store: Store) -> set[str]:
    return {p.relative_to(store.uri).as_posix() for p in Path(store.uri).rglob("*") if p.is_file()}


def engine(store: Store, name: bytes) -> str:
    """A result with a blob, like an engine's."""
    blob, key = store.put_blob(name), digest_bytes(name + b" key")
    output = {"engine": blob, "bytes": len(name)}
    store.put_result(
        key,
        {
            "key": key,
            "identity": {"step": "engine"},
            "output": output,
            "provenance": {"seconds": 1},
        },
    )
    return key


def test_a_store_whose_every_file_is_needed_keeps_them_all(farm):
    store = farm.store
    age(store)
    before = paths(store)
    assert farm.kiln("gc", "--grace", "0") == 0
    assert paths(store) == before
    assert farm.kiln("run") == 0
    assert (
        len(
            [
                o
                for o in record.tasks(store, record.ids(store)[-1]).values()
                if o["kind"] == "cached"
            ]
        )
        == 5
    )
    session = enginebundle.load(f"{store.uri}/m", target="torch:cpu")
    assert session(x=torch.ones(2, 4))["y"].shape == (2, 3)


def test_what_nothing_reaches_goes_and_a_dry_run_only_tells(farm, capsys):
    store = farm.store
    needed = paths(store)
    alone = store.put_blob(b"named by nothing")
    engine(store, b"of no version")
    key = digest_bytes(b"torn")
    torn = Path(store.uri, f"results/{key[7:9]}/{key[7:]}.json")
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_text("{")
    blob = digest_bytes(b"x")[7:]
    for folder in ("blobs/sha256/ab", "results/ab", "bundles/m/versions", "runs/x"):
        Path(store.uri, folder).mkdir(parents=True, exist_ok=True)
        Path(store.uri, folder, ".tmp-killed").write_text("half")
    store.storage.put(f"damaged/{blob}/{blob}", b"x")
    (of_result,) = store.list_files("inputs")
    for folder in (of_result.rpartition("/")[0], f"inputs/{blob}"):
        store.put_file(f"{folder}/{blob}.json", b'{"names": {}}')
    garbage = paths(store) - needed
    age(store)
    assert farm.kiln("gc", "--dry-run") == 0
    told = capsys.readouterr().out
    assert {line for line in told.splitlines() if "/" in line} == garbage
    assert paths(store) == needed | garbage
    assert farm.kiln("gc") == 0
    assert paths(store) == needed
    assert not store.has_blob(alone)
    assert f"{len(farm.files('blobs/*/*/*'))} blobs stay" in capsys.readouterr().out


def test_lists_lead_to_what_stays(farm):
    """To results, though it is lost what was read; and to failures that are known."""
    store = farm.store
    (path,) = store.list_files("inputs")
    identity = json.loads(farm.result("trace").read_text())["identity"]
    Path(store.uri, f"blobs/sha256/{identity['inputs'][7:9]}/{identity['inputs'][7:]}").unlink()
    name = digest_bytes(b"x")[7:]
    failed = Task(TaskId("m", "build"), {"replace": ["x"]}, (), Resources(1.0, 1, 1.0))
    key = digest_bytes(b"a task")
    Failures(store).remember(failed, key, Failed("builder", "no", key=digest_bytes(b"own")))
    store.put_file(f"inputs/{key[7:]}/{name}.json", b'{"names": {}}')
    age(store)
    before = paths(store)
    assert farm.kiln("gc") == 0
    assert paths(store) == before
    assert path in before


def test_what_was_written_or_used_just_now_stays(farm):
    store = farm.store
    age(store)
    used, young = store.put_blob(b"used"), store.put_blob(b"young")
    age(store)
    store.put_blob(b"used")
    store.storage.touch(f"blobs/sha256/{young[7:9]}/{young[7:]}")
    store.put_blob(b"new")
    assert farm.kiln("gc") == 0
    assert all(map(store.has_blob, (used, young, digest_bytes(b"new"))))


def test_older_versions_evidence_and_timing_caches_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    default_signer()
    store = Store.open(tmp_path / "store", create=True)
    versions = [publish(store, label=str(n)) for n in range(3)]
    store.set_alias(versions[0].name, "prod", 1)
    key = digest_bytes(b"conditions")
    caches = [store.put_blob(b"cache %d" % n) for n in range(3)]
    for n, cache in enumerate(caches):
        store.move_timing(key, n, {"cache": cache})
    age(store)
    collect.collect(store, grace=0.0)
    for version in versions:
        enginebundle.load(
            f"{store.uri}/{version.name}@{version.number}", target="torch:cpu", allow_pending=True
        )
    assert [store.has_blob(cache) for cache in caches] == [False, False, True]
    assert store.timing(key) == (3, {"cache": caches[2]})


def test_while_a_run_is_alive_every_result_stays(farm):
    store = farm.store
    keys = [engine(store, b"of no version %d" % n) for n in range(3)]
    alone = store.put_blob(b"named by nothing")
    age(store)
    with alive.alive(store, "r1"):
        assert farm.kiln("gc", "--grace", "0") == 0
        assert all(store.result(key) for key in keys)
        assert not store.has_blob(alone)
        assert store.has_blob(store.result(keys[0])["output"]["engine"])
    assert store.run_leases() == {}
    assert farm.kiln("gc", "--grace", "0") == 0
    assert not any(store.result(key) for key in keys)


def test_the_lease_of_a_run_that_was_killed_protects_nothing(farm):
    store = farm.store
    code = (
        "import sys; from enginebundle.storage.store import Store; from orchestrator.keep.alive import alive\n"
        "with alive(Store.open(sys.argv[1]), 'r1'):\n    print('alive', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, store.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout.readline() == b"alive\n"
        assert alive.runs_alive(store) == [run_path("r1")]
        run.kill()
    assert alive.runs_alive(store) == []


def test_a_run_elsewhere_is_alive_as_long_as_its_heart_beats(farm, monkeypatch):
    store = farm.store
    monkeypatch.setattr(holder, "STALE", 2.0)
    store.put_lease(
        run_path("there"), {"id": "1", "beat": 0, "machine": "another", "pid": 1, "born": 0}
    )
    assert alive.runs_alive(store) == []

    def beat():
        for n in range(30):
            store.put_lease(
                run_path("there"), {"id": "1", "beat": n, "machine": "another", "pid": 1, "born": 0}
            )
            time.sleep(0.1)

    thread = threading.Thread(target=beat)
    thread.start()
    assert alive.runs_alive(store) == [run_path("there")]
    thread.join()


def test_two_sweeps_that_find_the_same_dead_one_are_one(farm, monkeypatch):
    store = farm.store
    store.put_lease(SWEEP, {"id": "1", "beat": 0, **holder.this_process(), "born": 0})
    judge, first = alive._dead, contextlib.ExitStack()

    def slow(*about):
        """While one sweep comes to its judgement, another begins."""
        monkeypatch.setattr(alive, "_dead", judge)
        found = judge(*about)
        first.enter_context(alive.sweeping(store))
        return found

    monkeypatch.setattr(alive, "_dead", slow)
    with first:
        with pytest.raises(ConflictError, match="at the same time"), alive.sweeping(store):
            pass
        assert store.lease(SWEEP) is not None, "the first goes on"
    assert store.lease(SWEEP) is None


def test_notes_of_stores_without_conditional_writes_go(farm):
    store = farm.store
    note = f"agreements/results/ab/{'ab' * 32}.json/dead.00000001"
    store.storage.put(note, b"{}")
    assert note not in {entry.path for entry in collect.collect(store, dry_run=True).entries}
    age(store)
    assert {entry.path for entry in collect.collect(store).entries} == {note}


def test_a_run_that_begins_waits_for_the_sweep_and_two_sweeps_are_one_too_many(farm):
    store = farm.store
    began = threading.Event()

    def run():
        with alive.alive(Store.open(store.uri), "r1"):
            began.set()

    thread = threading.Thread(target=run)
    with alive.sweeping(store):
        with pytest.raises(ConflictError, match="another `kiln gc`"), alive.sweeping(store):
            pass
        thread.start()
        while not store.run_leases():
            time.sleep(0.01)
        assert not began.wait(0.5)
    thread.join(30)
    assert began.is_set()
    assert store.lease(SWEEP) is None


def test_publishing_beside_sweeps_without_end_loses_nothing(tmp_path, monkeypatch):
    """Writers go on putting blobs that were there before, unreached; every version can be opened."""
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    default_signer()
    store = Store.open(tmp_path / "store", create=True)
    monkeypatch.setattr(collect, "DAY", 0.0)
    stop = threading.Event()
    swept = []

    def sweep():
        while not stop.is_set():
            swept.append(len(collect.collect(Store.open(store.uri), grace=30.0).entries))

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        for n in range(40):
            for k in range(5):
                left = store.put_blob(b"%d of a writer that died %d" % (k, n % 3))
                os.utime(store.blob_path(left), (OLD, OLD))
            publish(store, label=str(n % 7))
    finally:
        stop.set()
        thread.join()
    assert sum(swept) > 0
    for version in store.versions(store.names()[0]):
        enginebundle.load(
            f"{store.uri}/{version.name}@{version.number}", target="torch:cpu", allow_pending=True
        )


def test_gc_and_its_grace_as_json(farm, capsys):
    assert farm.kiln("gc", "--dry-run", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"] == []
    with pytest.raises(SystemExit):
        farm.kiln("gc", "--grace", "-1")
