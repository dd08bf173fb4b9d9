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
from orchestrator.plan.task_id import TaskId
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Cached, Failed

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
        reports += executor.wait(60.0)
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
    assert pools[None].window == 4
    assert pools["sm_90"].window == 2
    assert pools["sm_120"].absent.startswith(
        "no machine here has sm_120, only sm_90; run on a cluster"
    )


def test_builds_take_turns_on_a_gpu_while_others_run_on_processors(ray_executor, tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    for n in range(4):
        label = "sm_90" if n < 2 else None
        one = attempt(store, f"m{n}", function="timed", label=label)
        spec = {"n": n, "seconds": 2.0}
        ray_executor.submit(replace(one, spec=spec, cpus=0.5))
    spans = [outcome.output for _, outcome in sorted(collect(ray_executor, 4).items())]
    assert not overlap(spans[0], spans[1])
    assert any(overlap(gpu, cpu) for gpu in spans[:2] for cpu in spans[2:])
    assert [span["gpus"] for span in spans] == ["0", "0", "", ""]


def overlap(a, b):
    return a["began"] < b["ended"] and b["began"] < a["ended"]


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
