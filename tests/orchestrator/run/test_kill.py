"""A driver that ends in the middle of a run, by `kill -9` or Ctrl-C, and the same command again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from enginebundle.storage.store import Store
from orchestrator.report import record

BUILDERS = Path(__file__).parents[1] / "builders"
ROOT = Path(__file__).resolve().parents[3]
MANIFEST = """
defaults:
  inputs: {x: {dtype: float32, shape: [b, 4]}}
  profiles: {any: {b: [1, 4, 8]}}
  targets: ["torch:cpu"]
  goldens: {seed: 1, cases: 2}
models:
  - {name: quick, source: {entrypoint: "tiny_models:tiny"}}
  - {name: slow, source: {entrypoint: "tiny_models:slow", kwargs: {seed: 1}}}
"""


def recorded(store):
    """Task -> the run that recorded its result, for every result in the store."""
    found = {}
    for path in (Path(store.uri) / "results").rglob("*.json"):
        provenance = json.loads(path.read_text())["provenance"]
        if "task" in provenance:
            found[provenance["task"]] = provenance["run"]
    return found


AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own: for 60 s they try to tell a head that is gone that it is gone, then leave."""


def gone(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition, driver=None, seconds=240.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert driver is None or driver.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)


@pytest.fixture
def setting(tmp_path):
    """(store, command, environment) of a run whose slow model can be interrupted."""
    models = tmp_path / "models"  # Of its own: a data file beside the code is part of every key.
    models.mkdir()
    shutil.copy(BUILDERS / "tiny_models.py", models)
    (models / "manifest.yaml").write_text(MANIFEST)
    store = Store.open(tmp_path / "store", create=True)
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(models / "manifest.yaml")]
    command += ["--store", store.uri, "--jobs", "2"]
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp", ignore_cleanup_errors=True) as short:
        yield (
            store,
            command,
            os.environ
            | {
                "ENGINEBUNDLE_HOME": str(tmp_path / "home"),
                "RAY_AUTH_MODE": "disabled",
                "RAY_TMPDIR": short,
            },
        )


def start(command, env, log):
    """The driver as a terminal starts it: at the head of its own group."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True
        )


def test_what_was_finished_is_not_done_again_and_nothing_is_left_over(setting, tmp_path):
    store, command, env = setting
    driver = start(command, env, tmp_path / "log")
    # One model is traced, the other is at it.
    wait_until(lambda: "quick/trace" in recorded(store), driver)
    family = psutil.Process(driver.pid).children(recursive=True)
    family = [process for process in family if not process.name().startswith(AGENTS)]
    assert any("orchestrator.worker.child" in " ".join(p.cmdline()) for p in family if not gone(p))
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_until(lambda: all(map(gone, family)))

    before = recorded(store)
    (first,) = record.ids(store)
    assert record.results(store, first) is None, "it did not come to an end"
    assert "slow/trace" not in before
    assert set(before.values()) == {first}

    done = subprocess.run(
        [*command, "-o", "json"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["totals"] == "2 built, 2 validated, 0 pending, 0 failed"
    kinds = {name: task["kind"] for name, task in results["tasks"].items()}
    moved = {"quick/promote", "slow/promote"}
    assert {name for name, kind in kinds.items() if kind == "cached"} == before.keys()
    assert {name for name, kind in kinds.items() if kind == "built"} - moved == (
        recorded(store).keys() - before.keys()
    )
    for name, run in recorded(store).items():
        assert run == (first if name in before else results["run"]), name
    assert store.aliases("slow") == {"latest": 1}


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_ctrl_c_ends_every_process_and_says_so(executor, setting, tmp_path):
    store, command, env = setting
    driver = start([*command, "--executor", executor], env, tmp_path / "log")

    def family():
        return psutil.Process(driver.pid).children(recursive=True)

    def at_work():
        return any(
            "orchestrator.worker.child" in " ".join(p.cmdline()) for p in family() if not gone(p)
        )

    wait_until(at_work, driver)
    left = family()
    os.killpg(driver.pid, signal.SIGINT)  # As a terminal does: to the whole group.
    assert driver.wait(120) == 130
    wait_until(lambda: all(map(gone, left)))
    (run,) = record.ids(store)
    results = record.results(store, run)
    assert results["exit_code"] == 130
    codes = {task.get("code") for task in results["tasks"].values() if task["kind"] == "failed"}
    assert codes == {"cancelled"}
    assert results["tasks"]["slow/promote"]["because"] == "the run was stopped"
