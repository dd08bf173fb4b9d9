"""Manifest in, proved bundle out, again, killed and resumed: through the command and the loader."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.storage.store import Store
from orchestrator.report import record
from tests.e2e.kiln import FARM, command, environment, kiln

sys.path.append(str(FARM))
import farm_models

SMALL = FARM / "small.yaml"
MODELS = {
    "perceptron": (farm_models.perceptron, farm_models.perceptron_goldens),
    "reader": (farm_models.reader, farm_models.reader_goldens),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@dataclass(frozen=True)
class Resumed:
    """A store, what a driver left there when it was killed, and the run that took it up."""

    store: Path
    left: dict[Path, bytes]
    run: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Resumed:
    """small.yaml, by a driver that is killed on its way, and by the same command again."""
    store = tmp_path_factory.mktemp("farm") / "store"
    words = command("run", SMALL, "--store", store)
    driver = subprocess.Popen(
        words, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        left = _wait_for_results(store, 3, driver)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    return Resumed(store, left, kiln(home, "run", SMALL, "--store", store))


@pytest.fixture
def trusting(home, monkeypatch):
    """This process trusts the key that the runs signed with."""
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))


def test_everything_is_built_and_the_cpu_variants_are_proved(first: Resumed) -> None:
    assert first.run.returncode == 0, first.run.stderr
    assert "6 built, 2 validated, 4 pending, 0 failed" in first.run.stdout
    opened = Store.open(first.store)
    assert sorted(opened.names()) == ["perceptron", "reader"]
    assert opened.aliases("reader") == {"latest": 1}


def test_what_a_killed_driver_left_is_taken_up(first: Resumed) -> None:
    assert all(path.read_bytes() == data for path, data in first.left.items())
    opened = Store.open(first.store)
    killed, resumed = record.ids(opened)[:2]
    assert record.results(opened, killed) is None
    tasks = record.status(opened, resumed)["tasks"]
    cached = [name for name, event in tasks.items() if event["state"] == "cached"]
    assert len(cached) >= len(first.left)
    assert len(cached) < len(tasks)


@pytest.mark.parametrize("name", MODELS)
def test_the_loaded_bundle_answers_as_the_model_does(
    first: Resumed, trusting: None, name: str
) -> None:
    make, goldens = MODELS[name]
    model = make().eval()
    session = enginebundle.load(f"{first.store}/{name}:latest", target="torch:cpu")
    for _, inputs in goldens():
        with torch.no_grad():
            want = model(**inputs)
        got = session(**inputs)
        assert got.keys() == want.keys()
        for key, value in want.items():
            torch.testing.assert_close(torch.as_tensor(got[key]), value, atol=1e-5, rtol=1e-5)


def test_the_same_manifest_again_builds_nothing_and_publishes_nothing(
    first: Resumed, home: Path
) -> None:
    store = first.store
    before = {path: path.read_bytes() for path in (store / "results").rglob("*.json")}
    again = kiln(home, "run", SMALL, "--store", store)
    assert again.returncode == 0, again.stderr
    assert "every task cached" in again.stdout + again.stderr
    opened = Store.open(store)
    assert [len(opened.versions(name)) for name in opened.names()] == [1, 1]
    assert {path: path.read_bytes() for path in (store / "results").rglob("*.json")} == before


def test_one_broken_model_does_not_stop_the_other(tmp_path, home, trusting) -> None:
    store = tmp_path / "store"
    manifest = FARM / "one_broken.yaml"
    run = kiln(home, "run", manifest, "--store", store, "--executor", "local")
    assert run.returncode == 1, run.stderr
    assert "1 built, 1 validated, 0 pending, 1 failed" in run.stdout
    assert "the flux capacitor is missing" in run.stdout + run.stderr
    assert Store.open(store).names() == ["perceptron"]
    assert enginebundle.load(f"{store}/perceptron", target="torch:cpu")


def _wait_for_results(store: Path, count: int, driver: subprocess.Popen) -> dict[Path, bytes]:
    """Results under their keys as soon as there are `count` of them and the driver still runs."""
    for _ in range(3000):
        found = list((store / "results").rglob("*.json"))
        assert driver.poll() is None, f"the driver ended by itself with {len(found)} results"
        if len(found) >= count:
            return {path: path.read_bytes() for path in found}
        time.sleep(0.1)
    raise AssertionError(f"no {count} results within 300 s")
