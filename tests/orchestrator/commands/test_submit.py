"""`kiln submit` to a real Ray head on this machine, started and ended here by its process id."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator.report import record

BUILDERS = Path(__file__).parents[1] / "builders"
ROOT = Path(__file__).resolve().parents[3]
MANIFEST = """
models:
  - name: quick
    source: {entrypoint: "tiny_models:tiny"}
    inputs: {x: {dtype: float32, shape: [b, 4]}}
    profiles: {any: {b: [1, 4, 8]}}
    goldens: {seed: 1, cases: 2}
    targets: ["torch:cpu", "trt:sm_90"]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp", ignore_cleanup_errors=True) as short:
        bin_folder = str(Path(sys.executable).parent)
        yield os.environ | {
            "ENGINEBUNDLE_HOME": str(tmp_path_factory.mktemp("home")),
            "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": short,
        }


@pytest.fixture(scope="module")
def head(environment):
    """(address, process), for all tests here; the last one ends it."""
    with head_node(environment) as found:
        yield found


@pytest.fixture
def dashboard(head):
    return head[0]


@contextlib.contextmanager
def head_node(environment):
    """The address of a head with two CPUs and no GPU, and its process."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--port=0"]
    command += [f"--dashboard-port={port}", "--num-cpus=2", "--object-store-memory=100000000"]
    command += ["--temp-dir", environment["RAY_TMPDIR"]]
    # The agent that starts jobs has a fixed port by default: another Ray here may hold it.
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/version", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert head.poll() is None, "the head did not start"
                assert time.monotonic() < end, "the head does not answer"
                time.sleep(0.2)
        # The dashboard answers before the agent that starts jobs is there.
        first = [command[0], "job", "submit", "--address", address, "--", "true"]
        while subprocess.run(first, env=environment, capture_output=True).returncode:
            assert time.monotonic() < end, "the head takes no jobs"
        yield address, head
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait()


def test_a_job_publishes_streams_and_hands_back_the_runs_own_code(dashboard, environment, tmp_path):
    """Ray's CLI says 1 for anything but success; the run says 5, for a pool that the cluster lacks."""
    shutil.copy(BUILDERS / "tiny_models.py", tmp_path)
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    store = tmp_path / "store"
    command = ["submit", str(tmp_path / "manifest.yaml"), "--store", str(store)]
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *command, "--address", dashboard],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    run, totals = done.stdout.splitlines()
    assert totals == "1 built, 1 validated, 0 pending, 0 failed, 1 blocked"
    assert f"submitted {run}" in done.stderr
    assert "quick/trace: started" in done.stderr, "the job's log"
    results = record.results(Store.open(store), run)
    assert results["exit_code"] == 5
    blocked = results["tasks"]["quick/build/trt:sm_90/any"]
    assert blocked["kind"] == "blocked"
    assert "no node of the pool farm/sm=sm_90 with a GPU in this cluster" in blocked["why"]
    assert results["tasks"]["quick/promote"]["kind"] == "built"
    assert Store.open(store).aliases("quick") == {"latest": 1}
    plan = json.loads(Store.open(store).get_file(f"runs/{run}/plan.json"))
    assert plan["models"] == ["quick"]


def test_submitting_twice_runs_one_job(dashboard, environment, tmp_path):
    """Three at once, then one more: all name the same run. When it has ended, there is another."""
    shutil.copy(BUILDERS / "tiny_models.py", tmp_path)
    (tmp_path / "manifest.yaml").write_text(
        MANIFEST.replace("tiny_models:tiny", "tiny_models:slow")
    )
    store = tmp_path / "store"
    Store.open(store, create=True)
    command = [sys.executable, "-m", "orchestrator.cli", "submit", str(tmp_path / "manifest.yaml")]
    command += ["--store", str(store), "--address", dashboard]

    def submit(*more):
        return subprocess.Popen(
            [*command, *more],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    ended = [process.communicate() for process in [submit("--no-wait") for _ in range(3)]]
    runs = {out.strip() for out, _ in ended}
    assert len(runs) == 1, [err[-600:] for _, err in ended]
    (run,) = runs
    assert sum("goes on" in err for _, err in ended) == 2
    out, _ = submit().communicate()
    assert out.splitlines()[0] == run
    assert record.ids(Store.open(store)) == [run]
    out, _ = submit("--no-wait").communicate()
    assert out.strip() != run


def test_no_cluster_is_infrastructure(environment, tmp_path):
    shutil.copy(BUILDERS / "tiny_models.py", tmp_path)
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    common = [str(tmp_path / "manifest.yaml"), "--store", str(tmp_path / "store")]
    address = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "submit", *common, "--address", address],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert f"no job could be started at {address}" in done.stderr


def test_a_dashboard_that_goes_away_is_infrastructure(head, tmp_path, monkeypatch, environment):
    """The last test: it ends the head that the others ask."""
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, environment[name])
    from orchestrator.run import ray_executor
    from orchestrator.run.executor import UnreachableError

    address, process = head
    job = ray_executor.RayJob.submit(
        address, "r1", "abc", "sleep 600", tmp_path, tmp_path / "store"
    )
    monkeypatch.setattr(ray_executor, "PATIENCE", 3.0)
    process.send_signal(signal.SIGTERM)
    process.wait()
    with pytest.raises(UnreachableError, match=r"has not answered for 3 s.*kiln status r1"):
        job.follow(io.StringIO())
