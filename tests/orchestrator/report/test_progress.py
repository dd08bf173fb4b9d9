"""What a run shows while it goes: lines in a log, a table on a terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from enginebundle.storage.store import Store
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.report import record
from orchestrator.report.progress import Lines, LiveTable, line
from orchestrator.run.drive import Transition
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Skipped

ANY = Resources(1.0, 1, 1.0)


@pytest.mark.parametrize(
    ("transition", "text"),
    [
        (Transition("m/trace", "started", 1), "m/trace: started"),
        (Transition("m/trace", "retry", 2), "m/trace: retry (attempt 2)"),
        (
            Transition("m/trace", "built", 1, Built({}, 2.25, 300_000_000), "node7"),
            "m/trace: built in 2.2 s, peak 300 MB on node7",
        ),
        (Transition("m/trace", "cached", 0, Cached({})), "m/trace: cached"),
        (
            Transition("m/trace", "failed", 1, Failed("timeout", "still running"), "node7"),
            "m/trace: FAILED (timeout) still running on node7",
        ),
        (
            Transition("m/publish", "skipped", 0, Skipped("m/trace")),
            "m/publish: skipped, m/trace failed",
        ),
        (
            Transition("m/build/trt:sm_90", "blocked", 1, Blocked("no machine here has sm_90")),
            "m/build/trt:sm_90: blocked, no machine here has sm_90",
        ),
    ],
)
def test_a_transition_on_one_line(transition, text):
    assert line(transition) == text
    stream = io.StringIO()
    with Lines(stream) as log:
        log(transition)
    assert stream.getvalue().rstrip().endswith(" " + text)


def shown(table):
    stream = io.StringIO()
    Console(file=stream, width=200).print(table._table())
    return [" ".join(text.split()) for text in stream.getvalue().splitlines()]


def models(count):
    return [
        Task(TaskId(f"m{n}", step), {}, (), ANY)
        for n in range(count)
        for step in ("trace", "promote")
    ]


def test_the_table_counts_states_and_names_what_runs():
    table = LiveTable(models(2))
    table(Transition("m0/trace", "started", 1))
    table(Transition("m1/trace", "cached", 0, Cached({})))
    table(Transition("m1/promote", "built", 1, Built({}, 1.0)))
    assert shown(table) == [
        "model waiting running cached built failed skipped blocked now",
        "m0 1 1 trace",
        "m1 1 1",
    ]


def test_a_large_table_shows_what_is_at_work_and_a_sum():
    table = LiveTable(models(100))
    table(Transition("m7/trace", "started", 1))
    assert shown(table)[1:] == ["m7 1 1 trace", "all 100 models 199 1"]


def test_failures_stay_on_the_screen(capsys):
    with LiveTable(models(1)) as table:
        table(Transition("m0/trace", "failed", 1, Failed("guard", "model.py:[12]")))
    assert "m0/trace: FAILED (guard) model.py:[12]" in capsys.readouterr().err


def test_an_event_is_written_even_if_no_other_follows(tmp_path):
    store = Store.open(tmp_path, create=True)
    written = record.Record(store, "r1")
    for task in ("m/trace", "m/build/torch:cpu"):
        written(Transition(task, "started", 1))

    def lines():
        return store.get_file("runs/r1/events.jsonl").decode().splitlines()

    end = time.monotonic() + 60
    while len(lines()) < 2:
        assert time.monotonic() < end, "waited in vain"
        written.tick()
        time.sleep(0.02)
    before = (tmp_path / "runs/r1/events.jsonl").stat().st_mtime_ns
    written._due = 0.0
    written.tick()
    assert (tmp_path / "runs/r1/events.jsonl").stat().st_mtime_ns == before, "nothing new"
