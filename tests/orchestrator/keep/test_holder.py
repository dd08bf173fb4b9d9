"""A key is held by one at a time, and a dead holder is replaced."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.storage.store import Store
from orchestrator.keep import holder
from orchestrator.keep.holder import Holder
from orchestrator.worker.attempt import Attempt, log_path, perform
from orchestrator.worker.outcome import Built, Cached, kind

BUILDERS = str(Path(__file__).parents[1] / "builders")
KEY = digest_bytes(b"key")


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


def nothing():
    return None


def never():
    return False


def attempt(store, run, number=1, function="tick", **spec):
    return Attempt(
        "m/trace", number, run, "trace", spec, {}, {"id": "x"}, store.uri, 1.0, 1 << 30, 60.0,
        function=f"step_builders:{function}", path=(BUILDERS,),
    )  # fmt: skip


def test_two_runs_that_want_the_same_make_it_once(store, tmp_path):
    ended = {}

    def work(run):
        ended[run] = perform(attempt(store, run, file=str(tmp_path / "ticks")))[0]

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(kind, ended.values())) == ["built", "cached", "cached", "cached"]
    assert len((tmp_path / "ticks").read_text().splitlines()) == 1
    assert store.key_lease(attempt(store, "r0").key) == (0, None), "nothing is left of the leases"


def test_a_failure_lets_the_next_one_try(store):
    failed, _ = perform(attempt(store, "r1", function="refuse"))
    assert failed.code == "no-export"
    assert isinstance(perform(attempt(store, "r2", function="bookkeeping"))[0], Built)


@pytest.mark.parametrize(
    ("output", "kept"),
    [({"passed": False}, False), ({"passed": False, "worst": 2.0}, False), ({"passed": True}, True),
     ({"passed": 0}, True), ({}, True)],
)  # fmt: skip
def test_a_validation_that_did_not_pass_is_not_recorded_for_ever(store, output, kept):
    """It may pass in the next run. Any other output counts as one that a step wanted to leave."""
    mine = attempt(store, "r1", function="answer", answer=output)
    first, _ = perform(mine)
    assert isinstance(first, Built)
    assert first.output == output
    again, _ = perform(mine)
    assert isinstance(again, Cached if kept else Built)


def test_whoever_waits_gets_the_result_of_the_one_that_works(store):
    with (
        Holder(store, KEY, "r1", "m/trace", 1) as first,
        Holder(store, KEY, "r2", "m/trace", 1) as second,
    ):
        assert first.wait(nothing, never) is None
        results = iter([None, None, "made"])
        assert second.wait(lambda: next(results), never) == "made"
        assert (first.number, second.number) == (1, 0)
        assert first.holds()


def test_whoever_waits_can_be_cancelled(store):
    with (
        Holder(store, KEY, "r1", "m/trace", 1) as first,
        Holder(store, KEY, "r2", "m/trace", 1) as second,
    ):
        first.wait(nothing, never)
        asked = iter([False, True, True])
        assert second.wait(nothing, lambda: next(asked)) is None
        assert second.number == 0


def test_a_holder_that_was_killed_is_replaced_at_once(store):
    code = (
        "import sys; from enginebundle.storage.store import Store; from orchestrator.keep.holder import Holder; "
        "h = Holder(Store.open(sys.argv[1]), sys.argv[2], 'r1', 'm/trace', 1); "
        "h.wait(lambda: None, lambda: False); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, store.uri, KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert not holder.gone(store.key_lease(KEY)[1])
        process.kill()
    with Holder(store, KEY, "r2", "m/trace", 1) as second:
        second.wait(nothing, never)
        assert second.number == 2


def test_a_holder_elsewhere_is_replaced_when_its_heart_stops_and_is_fenced_off(store, monkeypatch):
    monkeypatch.setattr(holder, "_machine", lambda: "there")
    first = Holder(store, KEY, "r1", "m/trace", 1)
    monkeypatch.setattr(holder, "BEAT", 1000.0)
    first.wait(nothing, never)
    monkeypatch.undo()
    monkeypatch.setattr(holder, "STALE", 0.2)
    with Holder(store, KEY, "r2", "m/trace", 1) as second:
        second.wait(nothing, never)
        assert second.number == 2
        assert second.holds()
        assert not first.holds()
        first.__exit__(None, None, None)
        assert second.holds(), "the old holder takes nothing from the new one"
    assert store.key_lease(KEY) == (0, None)


def test_a_heart_that_beats_is_waited_for(store, monkeypatch):
    monkeypatch.setattr(holder, "BEAT", 0.05)
    monkeypatch.setattr(holder, "STALE", 1.0)
    monkeypatch.setattr(holder, "gone", lambda document: False)
    with (
        Holder(store, KEY, "r1", "m/trace", 1) as first,
        Holder(store, KEY, "r2", "m/trace", 1) as second,
    ):
        first.wait(nothing, never)
        end = time.monotonic() + 3
        second.wait(nothing, lambda: time.monotonic() > end)
        assert second.number == 0


def test_a_later_attempt_of_the_same_run_takes_over(store):
    with (
        Holder(store, KEY, "r1", "m/trace", 1) as lost,
        Holder(store, KEY, "r1", "m/trace", 2) as again,
    ):
        lost.wait(nothing, never)
        again.wait(nothing, never)
        assert again.number == 2
        assert not lost.holds()


def test_a_damaged_lease_is_waited_out(store, monkeypatch):
    with Holder(store, KEY, "r1", "m/trace", 1) as first:
        first.wait(nothing, never)
        Path(store.uri, f"leases/keys/{KEY[7:]}/1.json").write_bytes(b"")
        monkeypatch.setattr(holder, "STALE", 0.1)
        with Holder(store, KEY, "r2", "m/trace", 1) as second:
            second.wait(nothing, never)
            assert second.number == 2


def test_a_log_that_can_not_be_kept_throws_no_result_away(store):
    """The folder for logs is a file."""
    path = Path(store.uri, log_path("r1", "m/trace", 1)).parent
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    outcome, _ = perform(attempt(store, "r1", function="talk"))
    assert isinstance(outcome, Built)
    assert isinstance(perform(attempt(store, "r2", function="talk"))[0], Cached)
