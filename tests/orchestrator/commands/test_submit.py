"""`kiln submit` to a real Ray head on this machine, started and ended here by its process id."""

from __future__ import annotations

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
def dashboard(environment):
    """The address of a head with two CPUs and no GPU."""
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
        yield address
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
