"""Progress out of a step's own process, into the store and `kiln status`; and a stop into the step."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.build.progress import Phase
from enginebundle.errors import StoreError
from enginebundle.format.digest import digest_json
from enginebundle.storage.store import Store
from orchestrator.commands import status
from orchestrator.report import record
from orchestrator.worker import isolate, progress
from orchestrator.worker.attempt import Attempt, perform
from orchestrator.worker.outcome import Built, Failed

BUILDERS = str(Path(__file__).parents[1] / "builders")


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def run(name: str, *arguments: str, log: Path, **more: Any) -> Built | Failed:
    call = isolate.Call(f"telling_builders:{name}", arguments, (BUILDERS,))
    return isolate.run(call, isolate.Limits(120.0, 4 << 30), log, **more)


def test_a_real_build_tells_and_is_stopped_in_order(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    told: list[dict[str, Any]] = []
    mark = tmp_path / "mark"
    outcome = run(
        "build_until_stopped", str(mark), log=tmp_path / "log", listen=told.append,
        cancelled=lambda: len(told) >= 3,
    )  # fmt: skip
    assert isinstance(outcome, Failed)
    assert outcome.code == "cancelled"
    assert mark.read_text() == "cancelled", "TensorRT gave the build up, and the step went on"
    names = {phase["name"] for one in told for phase in one["phases"]}
    assert "Building engine" in names


def test_a_step_that_does_not_heed_is_killed(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    outcome = run(
        "tell_once_and_hang", log=tmp_path / "log", listen=told.append,
        cancelled=lambda: bool(told),
    )  # fmt: skip
    assert isinstance(outcome, Failed)
    assert outcome.code == "cancelled"


def test_a_step_that_nobody_watches_has_nobody_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.FOLDER, raising=False)
    assert progress.teller() is None


def test_what_is_told_is_seen_once_and_a_stop_is_seen(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    watch = progress.Watch(tmp_path, seen.append)
    watch.look()
    assert not watch.ask_to_stop(), "nobody would notice"
    tell = progress.Teller(tmp_path)
    assert tell((Phase("Building engine", 2, 6),))
    watch.look()
    watch.look()
    assert seen == [{"phases": [{"name": "Building engine", "done": 2, "of": 6}]}]
    tell((Phase("Evaluating on the CPU", 0, 1),))
    watch.look()
    assert len(seen) == 2, "another phase is told at once"
    assert watch.ask_to_stop()
    assert not tell(())


def test_a_store_that_fails_does_not_disturb(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    tried = threading.Event()

    def fail(path: str, data: bytes) -> None:
        tried.set()
        raise StoreError("away")

    store.put_file = fail  # type: ignore[method-assign]
    relay = progress.Relay(store, "r1", "m/trace", 1)
    relay({"phases": []})
    relay.close()
    assert tried.is_set()


def started(store: Store, task: str, attempt: int) -> None:
    """A run's record as its driver writes it."""
    store.put_file("runs/r1/plan.json", json.dumps({"tasks": [{"id": task}]}).encode())
    event = {"time": "2026-01-02T03:04:05", "task": task, "state": "started", "attempt": attempt}
    store.put_file("runs/r1/events.jsonl", (json.dumps(event) + "\n").encode())


def test_status_shows_a_running_task_s_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "store", create=True)
    task, until = "m/build/rtx:sm_89/p", tmp_path / "until"
    identity = {"n": 1}
    attempt = Attempt(
        task, 1, "r1", "build", {"until": str(until)}, {}, identity, store.uri, 1.0, 1 << 30, 120.0,
        function="telling_builders:tell_step", path=(BUILDERS,),
    )  # fmt: skip
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(perform(attempt)[0]))
    thread.start()
    try:
        wait_until(lambda: store.get_file(progress.path("r1", task)))
        started(store, task, 1)
        entry = record.status(store, "r1")["tasks"][task]
        assert entry["progress"]["phases"][1] == {"name": "Optimizing graph", "done": 12, "of": 30}
        arguments = type("Args", (), {"store": store.uri, "run": "r1", "output": "text"})()
        assert status.status(arguments) == 0
        told = "Building engine 2 of 6, Optimizing graph 12 of 30"
        assert told in capsys.readouterr().out
        started(store, task, 2)
        assert "progress" not in record.status(store, "r1")["tasks"][task], "of another attempt"
    finally:
        until.touch()
        thread.join()
    assert isinstance(outcomes[0], Built)
    assert outcomes[0].output == {"done": True}, "what stands beside a result is not in it"
    kept = store.result(digest_json(identity))
    assert kept is not None
    assert kept["output"] == {"done": True}
    assert kept["provenance"]["engines"] == [{"key": "sha256:e"}]
