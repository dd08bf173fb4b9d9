"""What a run must not keep to itself: no engine, less in engines, drawn goldens, another machine's key, a
failure that came later, and what a stopped run left undone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import NoVariantError
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.validate import validate
from enginebundle.storage.ledger import attest
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.e2e.kiln import FARM, ROOT, command, environment, kiln

CPU = Target.parse("torch:cpu")
MODEL = """
models:
  - name: perceptron
    source: {{ entrypoint: "farm_models:perceptron" }}
    inputs: {{ x: {{ dtype: float32, shape: [b, 8] }} }}
    profiles: {{ batch: {{ b: [1, 4, 16] }} }}
    targets: [{targets}]
    {more}
"""


def manifest(folder: Path, targets: str, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FARM / "farm_models.py", folder)
    path = folder / "manifest.yaml"
    path.write_text(MODEL.format(targets=targets, more=more))
    return path


def run(home: Path, path: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return kiln(home, "run", path, "--store", store, "--executor", "local", *more)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A store in which nothing of perceptron fits into an engine, and a home for keys."""
    folder = tmp_path_factory.mktemp("loud")
    path = manifest(folder / "work", '"torch:cpu", "rtx:sm_89"', "min_nodes: 1000")
    return path, folder / "store", folder / "home"


def test_a_target_without_any_engine_fails_and_says_why(farm) -> None:
    path, store, home = farm
    first = run(home, path, store)
    assert first.returncode == 1, first.stderr
    assert "no-engine: rtx:sm_89 ended without any engine" in first.stdout
    assert "too_small: expected an engine segment of at least 1000 compute nodes" in first.stdout
    assert "set `allow_torch: true`" in first.stdout
    assert Store.open(store).aliases("perceptron") == {}
    shown = kiln(home, "report", "--store", store)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[1].split() == ["BUILD", "ENGINE", "TORCH", "ENGINES"]
    (row,) = [line.split() for line in lines if "rtx:sm_89/batch" in line and ": " not in line]
    assert row[2] == "0"
    assert int(row[3]) > 0
    assert row[4] == "0"
    assert "farm_models.py:" in shown.stdout
    assert "remedy: set min_nodes lower" in shown.stdout


def test_it_is_taken_if_that_is_allowed_without_building_again(farm) -> None:
    path, store, home = farm
    path.write_text(path.read_text() + "    allow_torch: true\n")
    done = run(home, path, store)
    assert done.returncode == 0, done.stderr
    assert "perceptron/build/rtx:sm_89/batch: built" not in done.stderr
    told = "perceptron on rtx:sm_89, batch: "
    for words in (("status",), ("list",)):
        out = kiln(home, *words, "--store", store).stdout
        assert told.removeprefix("perceptron") in out, words
        assert "nodes run in torch" in out, words
    assert told in done.stdout
    shown = json.loads(kiln(home, "inspect", "perceptron", "--store", store).stdout)
    assert "nodes run in torch" in shown["details"]["rtx:sm_89"]["fallback"][0]
    (part,) = shown["index"]["variants"][1]["parts"]
    assert part["fallback"]["engine"] == 0
    assert part["fallback"]["reasons"]
    by_name = kiln(home, "report", "perceptron@1", "--store", store, "-o", "json")
    assert json.loads(by_name.stdout)["builds"]["perceptron/build/rtx:sm_89/batch"]["report"]


def test_drawn_goldens_and_tolerances_are_told(farm) -> None:
    path, store, home = farm
    out = run(home, path, store).stdout
    assert "goldens: drawn at random, since the manifest gives none: perceptron" in out
    listed = kiln(home, "list", "--store", store).stdout.splitlines()
    assert listed[0].split() == ["BUNDLE", "ALIASES", "TARGET", "STATE", "TOLERANCE", "GOLDENS"]
    for line in listed[1:3]:
        assert line.split()[-1] == "drawn"
        assert "%" in line
        assert "+" in line
    assert "TOLERANCE" in out
    assert "%" in out


def test_a_second_machine_with_another_key_is_told_that_nothing_opens_there(farm, tmp_path) -> None:
    path, store, _ = farm
    second = run(tmp_path / "second", path, store)
    assert second.returncode == 1, second.stderr
    assert "perceptron/publish: untrusted: signed by key sha256:" in second.stdout
    assert "validated" not in second.stdout.replace("0 validated", "")
    listed = kiln(tmp_path / "second", "list", "--store", store)
    assert listed.returncode == 0
    assert "untrusted" in listed.stdout
    for words in (("inspect", "perceptron"), ("validate", "perceptron", "--target", "torch:cpu")):
        refused = kiln(tmp_path / "second", *words, "--store", store)
        assert refused.returncode == 1, words
        assert "not trusted here" in refused.stderr
    (trusted,) = (farm[2] / "trusted").iterdir()
    shutil.copy(trusted, tmp_path / "second" / "trusted")
    third = run(tmp_path / "second", path, store)
    assert third.returncode == 0, third.stderr
    assert "every task cached" in third.stdout
    assert "1 validated" in third.stdout


def test_run_list_inspect_and_loader_say_the_same_on_day_2(farm, monkeypatch) -> None:
    """The validation of day 1 is cached; on day 2 the same variant failed."""
    path, uri, home = farm
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))
    store = Store.open(uri)
    version = store.resolve("perceptron")
    assert Bundle.open(store, version).states[CPU] == "validated"
    wrong = replace(validate(store, version, CPU), passed=False, date="0001-01-01")
    attest(store, version, wrong, default_signer())
    again = run(home, path, uri)
    assert again.returncode == 4, again.stdout
    assert "torch:cpu  failed" in again.stdout
    assert "torch:cpu  failed" in kiln(home, "list", "--store", uri).stdout
    shown = json.loads(kiln(home, "inspect", "perceptron", "--store", uri).stdout)
    assert shown["variants"]["torch:cpu"] == "failed"
    with pytest.raises(NoVariantError, match="failed its validation"):
        enginebundle.load(f"{uri}/perceptron", allow_pending=True, target=CPU)
    newer = kiln(home, "validate", "perceptron", "--target", "torch:cpu", "--store", uri)
    assert newer.returncode == 0, newer.stderr
    assert run(home, path, uri).returncode == 0
    assert enginebundle.load(f"{uri}/perceptron").selection[0].state == "validated"


def test_a_stopped_run_says_so_once_and_calls_nothing_failed(tmp_path: Path) -> None:
    path = manifest(tmp_path / "work", '"torch:cpu", "rtx:sm_89"')
    code = path.with_name("farm_models.py")
    code.write_text(code.read_text() + "\n\nimport time\n_one = perceptron\n\n\ndef perceptron():\n"
                    "    time.sleep(60)\n    return _one()\n")  # fmt: skip
    words = command("run", path, "--store", tmp_path / "store", "--executor", "local")
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(tmp_path / "home"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as started:  # fmt: skip
        events = tmp_path / "store"
        while not any("started" in f.read_text() for f in events.glob("runs/*/events.jsonl")):
            if started.poll() is not None:
                pytest.fail(started.communicate()[1])
            time.sleep(0.1)
        os.kill(started.pid, signal.SIGINT)
        out, talk = started.communicate(timeout=60)
    assert started.returncode == 130, talk
    assert "0 built, 0 validated, 0 pending, 0 failed, 2 stopped" in out
    assert (out + talk).count("stopped, run the same command to resume") == 1
    assert "FAILED" not in talk
    assert "skipped" not in talk
