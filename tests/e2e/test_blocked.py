"""A target that no machine here can build: told in plan, run and exit code, and in nobody's way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import enginebundle
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.machine import this_machine
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.e2e.kiln import FARM, kiln

pytestmark = pytest.mark.skipif(this_machine().arch is not None, reason="this machine has a GPU")

BUILD = "perceptron/build/trt:sm_90/batch"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A manifest beside its code, a store and a home for keys."""
    folder = tmp_path_factory.mktemp("blocked")
    for name in ("one_blocked.yaml", "farm_models.py"):
        shutil.copy(FARM / name, folder)
    return folder / "one_blocked.yaml", folder / "store", folder / "home"


@pytest.fixture(scope="module")
def first(farm):
    manifest, store, home = farm
    return kiln(home, "run", manifest, "--store", store, "--executor", "local")


def test_the_other_targets_are_built_validated_published_and_loaded(first, farm, monkeypatch):
    _, store, home = farm
    assert first.returncode == 5, first.stderr
    assert "2 built, 1 validated, 1 pending, 0 failed, 1 blocked" in first.stdout
    assert f"{BUILD}: blocked: no machine here has sm_90, only a CPU" in first.stdout
    assert f"{BUILD} is blocked: TensorRT builds on a GPU of the target" in first.stderr
    assert Store.open(store).aliases("perceptron") == {"latest": 1}
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))
    assert str(enginebundle.load(f"{store}/perceptron").target) == "torch:cpu"


def test_the_plan_says_so_before_and_the_record_after(first, farm):
    manifest, store, home = farm
    planned = json.loads(kiln(home, "plan", manifest, "--store", store, "-o", "json").stdout)
    assert planned["counts"] == {"cached": 6, "blocked": 1}
    (why,) = [task["why"] for task in planned["tasks"] if task["id"] == BUILD]
    assert "add one with the node label farm/sm=sm_90" in why
    status = json.loads(kiln(home, "status", "--store", store, "-o", "json").stdout)
    assert status["tasks"][BUILD]["state"] == "blocked"
    assert status["results"]["exit_code"] == 5
    assert [row["state"] for row in status["results"]["rows"]] == [
        "validated",
        "pending",
        "blocked",
    ]


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_the_same_run_again_builds_nothing_and_is_still_blocked(first, farm, executor):
    manifest, store, home = farm
    again = kiln(home, "run", manifest, "--store", store, "--executor", executor)
    assert again.returncode == 5, again.stderr
    assert "7 tasks: 6 cached" in again.stdout
    assert len(Store.open(store).versions("perceptron")) == 1


def test_an_alias_does_not_leave_a_version_with_engines_for_one_without(first, farm, monkeypatch):
    """As after a night on a farm with that GPU: version 2 has what is blocked here."""
    manifest, uri, home = farm
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))
    store = Store.open(uri)
    index = Bundle.open(store, store.resolve("perceptron@1")).index
    own = next(v for v in index.variants if v.target.backend == "rtx")
    target = Target.parse("trt:sm_90")
    toolchain = replace(own.toolchain, versions=(("tensorrt", "10.6.0"), ("torch", "2.11.0")))
    more = replace(own, target=target, toolchain=toolchain)
    data = replace(index, variants=(*index.variants, more)).to_bytes()
    assert store.publish("perceptron", data, default_signer().sign(data)).number == 2
    store.set_alias("perceptron", "latest", 2, expected=1)
    code = manifest.with_name("farm_models.py")
    code.write_text(code.read_text().replace("nn.Linear(8, 32)", "nn.Linear(8, 16)").replace(
        "nn.LayerNorm(32), nn.Linear(32, 3)", "nn.LayerNorm(16), nn.Linear(16, 3)"
    ))  # fmt: skip
    run = kiln(home, "run", manifest, "--store", uri, "--executor", "local")
    assert run.returncode == 5, run.stderr
    assert "2 built, 1 validated, 1 pending, 0 failed, 1 blocked" in run.stdout
    assert "perceptron/promote: blocked, perceptron:latest stays where it is" in run.stderr
    assert len(store.versions("perceptron")) == 3
    assert store.aliases("perceptron") == {"latest": 2}
