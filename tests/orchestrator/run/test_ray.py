"""Real Ray, one session for all tests: its own cluster in this process."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from enginebundle.storage.store import Store
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.run.drive import Farm, drive
from orchestrator.run.events import Ended
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Cached, Failed
from tests.orchestrator.run.test_executor import meeting, overlap

BUILDERS = str(Path(__file__).parents[1] / "builders")


@pytest.fixture(scope="module")
def ray_executor():
    """An embedded Ray that pretends to have a GPU node of sm_90."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder,
    ):
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_TMPDIR", folder)
        from orchestrator.run.ray_executor import RayExecutor

        executor = RayExecutor(None, jobs=2, archs=("sm_90",))
        yield executor
        executor.close()


def attempt(store, name, number=1, function="bookkeeping", **more):
    return Attempt(
        f"{name}/trace", number, "r1", "trace", {"n": 1}, {}, {"id": name}, store.uri, 1.0, 1 << 30, 60.0,
        function=f"step_builders:{function}", path=(BUILDERS,), **more,
    )  # fmt: skip


def collect(executor, count):
    reports = []
    while len(reports) < count:
        reports += [report for report in executor.wait(60.0) if isinstance(report, Ended)]
    return {TaskId.parse(report.id).model: report.outcome for report in reports}


def test_tasks_run_fail_and_are_found_again(ray_executor, tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    ray_executor.submit(attempt(store, "fine"))
    ray_executor.submit(attempt(store, "crash", function="segfault"))
    ray_executor.submit(attempt(store, "no", function="refuse"))
    outcomes = collect(ray_executor, 3)
    assert isinstance(outcomes["fine"], Built)
    assert outcomes["fine"].output == {"step": "trace", "spec": {"n": 1}, "upstream": []}
    assert "SIGSEGV" in outcomes["crash"].message
    assert outcomes["no"].code == "no-export"
    ray_executor.submit(attempt(store, "fine", number=2))
    assert isinstance(collect(ray_executor, 1)["fine"], Cached)


def test_a_task_may_ask_for_more_than_any_node_has(ray_executor, tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    big = Attempt(**{**attempt(store, "big").to_json(), "cpus": 1000.0, "memory": 1 << 50})
    ray_executor.submit(big)
    assert isinstance(collect(ray_executor, 1)["big"], Built)


def test_a_pool_without_nodes_is_named(ray_executor):
    pools = ray_executor.pools({None, "sm_90", "sm_120"})
    assert not pools["sm_90"].absent
    assert pools["sm_120"].absent.startswith(
        "no machine here has sm_120, only sm_90; run on a cluster"
    )


def test_builds_take_turns_on_a_gpu_while_others_run_on_processors(ray_executor, tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    for n in range(4):
        label = "sm_90" if n < 2 else None
        one = attempt(store, f"m{n}", function="timed", label=label)
        spec = meeting(n, tmp_path)
        ray_executor.submit(replace(one, spec=spec, cpus=0.5))
    spans = [outcome.output for _, outcome in sorted(collect(ray_executor, 4).items())]
    assert not overlap(spans[0], spans[1])
    assert [span["gpus"] for span in spans] == ["0", "0", "", ""]


def step_processes() -> list[int]:
    """The steps' processes among this one's descendants."""
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "orchestrator.worker.child" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def test_a_lost_worker_is_an_infrastructure_failure(ray_executor, tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    ray_executor.submit(attempt(store, "lost", function="kill_the_worker"))
    outcome = collect(ray_executor, 1)["lost"]
    assert isinstance(outcome, Failed)
    assert outcome.code == "infra"
    assert outcome.message.startswith("Ray: ")
    # The guard takes its step down when its lifeline breaks, a moment after Ray noticed.
    deadline = time.monotonic() + 30
    while step_processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not step_processes()


def test_a_pool_hands_out_one_task_ahead_of_the_last_that_started(ray_executor, tmp_path):
    pools = ray_executor.pools({None, "sm_90"})
    assert pools[None].ahead == pools["sm_90"].ahead == 1
    assert pools[None].window == pools["sm_90"].window > 1000, "nodes that come later are used"


def test_started_means_started_and_nothing_overtakes_a_big_task(ray_executor, tmp_path):
    """Twelve small tasks on two processors, and one early in the order that needs both of them."""
    store = Store.open(tmp_path / "store", create=True)
    ticks = tmp_path / "ticks"
    names = [f"m{n:02}" for n in range(12)]
    tasks = [
        Task(
            TaskId(name, "trace"), {"file": str(ticks), "name": name}, (),
            Resources(2.0 if name == "m03" else 1.0, 64 << 20, 60.0),
        )
        for name in names
    ]  # fmt: skip
    told = []

    def describe(task, identity, upstream, number):
        return Attempt(
            task.id, number, "r1", task.step, task.spec, upstream, identity, store.uri,
            task.resources.cpus, task.resources.memory, task.resources.timeout,
            function="step_builders:span", path=(BUILDERS,),
        )  # fmt: skip

    class Kept:
        """The executor of all tests here, which outlives a run."""

        pools, submit, wait = ray_executor.pools, ray_executor.submit, ray_executor.wait

        def close(self):
            pass

    farm = Farm(
        find=Finder(store, store.result).find,
        identify=lambda task, upstream: {"id": task.id},
        attempt=describe,
        executor=Kept,
        sized=lambda task, upstream: task,
        driver_steps={},
        finish=lambda task, upstream, outcome: outcome,
        listen=lambda transition: told.append((time.time(), transition)),
    )
    outcomes, _ = drive(tasks, farm)
    assert {type(outcome) for outcome in outcomes.values()} == {Built}
    spans = {
        name: (outcomes[f"{name}/trace"].output["began"], outcomes[f"{name}/trace"].output["ended"])
        for name in names
    }
    began = sorted(names, key=lambda name: spans[name])
    assert began.index("m03") in (2, 3, 4), "in its turn, give or take its neighbour"
    overlap = [
        n
        for n in names
        if n != "m03" and spans[n][0] < spans["m03"][1] and spans["m03"][0] < spans[n][1]
    ]
    assert not overlap, "it had both processors"
    for name in names:
        (at,) = [when for when, t in told if t.task == f"{name}/trace" and t.state == "started"]
        assert at <= spans[name][1], "it was told while the step ran"
    # Told as started: never more than there are processors.
    events = sorted(
        [(when, 1) for when, t in told if t.state == "started"]
        + [(when, -1) for when, t in told if t.state == "built"]
    )
    running, most = 0, 0
    for _, change in events:
        running += change
        most = max(most, running)
    assert most <= 2
    assert all(t.host for _, t in told if t.state == "started")
