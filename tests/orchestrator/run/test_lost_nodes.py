"""A real cluster of several nodes, of which some die or come after the run was planned."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator.plan.task_id import TaskId
from orchestrator.run.events import Ended, Started
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Failed

BUILDERS = str(Path(__file__).parents[1] / "builders")


@pytest.fixture
def cluster(monkeypatch):
    """A head with one processor; nodes can be added and removed."""
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        monkeypatch.setenv("RAY_TMPDIR", folder)
        from ray.cluster_utils import Cluster

        fast = {
            "health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
            "health_check_failure_threshold": 3, "health_check_timeout_ms": 1000,
        }  # fmt: skip
        made = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20, "_system_config": fast},
        )
        yield made
        made.shutdown()


def gpu_node(cluster):
    return cluster.add_node(
        num_cpus=1, num_gpus=1, labels={"farm/sm": "sm_90"}, object_store_memory=80 << 20
    )


def attempt(store, name, label, function="bookkeeping", **spec):
    return Attempt(
        f"{name}/trace", 1, "r1", "trace", spec, {}, {"id": name}, store.uri, 1.0, 64 << 20, 600.0,
        label=label, function=f"step_builders:{function}", path=(BUILDERS,),
    )  # fmt: skip


def collect(executor, names):
    """The last report of each task; all reports in order."""
    said, left = [], set(names)
    while left:
        for event in executor.wait(1.0):
            said.append(event)
            if isinstance(event, Ended):
                left.discard(TaskId.parse(event.id).model)
    return {TaskId.parse(e.id).model: e.outcome for e in said if isinstance(e, Ended)}, said


def test_the_only_node_of_a_pool_dies_and_another_comes(cluster, tmp_path, monkeypatch):
    from orchestrator.run import nodes
    from orchestrator.run.ray_executor import RayExecutor

    monkeypatch.setattr(nodes, "PATIENCE", 3.0)
    monkeypatch.setattr("orchestrator.run.ray_executor.LOOK", 0.5)
    store = Store.open(tmp_path / "store", create=True)
    node = gpu_node(cluster)
    executor = RayExecutor(cluster.address)
    try:
        pools = executor.pools({None, "sm_90"})
        assert not pools["sm_90"].absent
        # It dies after planning, before the task is handed out.
        cluster.remove_node(node, allow_graceful=False)
        executor.submit(attempt(store, "waits", "sm_90"))
        executor.submit(attempt(store, "plain", None))
        outcomes, _ = collect(executor, ["waits", "plain"])
        assert isinstance(outcomes["plain"], Built)
        assert isinstance(outcomes["waits"], Failed)
        assert outcomes["waits"].code == "no-machine"
        assert "no node of the pool farm/sm=sm_90" in outcomes["waits"].message
        # It dies while it runs a step.
        node = gpu_node(cluster)
        executor.submit(attempt(store, "runs", "sm_90", function="slow", seconds=600))
        while not any(isinstance(event, Started) for event in executor.wait(1.0)):
            pass
        cluster.remove_node(node, allow_graceful=False)
        outcomes, _ = collect(executor, ["runs"])
        assert isinstance(outcomes["runs"], Failed)
        assert outcomes["runs"].code == "infra"
        # Another comes in time.
        monkeypatch.setattr(nodes, "PATIENCE", 120.0)
        executor.submit(attempt(store, "served", "sm_90"))
        executor.wait(2.0)
        gpu_node(cluster)
        outcomes, said = collect(executor, ["served"])
        assert isinstance(outcomes["served"], Built)
        assert [type(event) for event in said] == [Started, Ended]
    finally:
        executor.close()
