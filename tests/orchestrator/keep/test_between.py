"""Between a run's plan and its work: what the plan found is not looked up again, what proves a version is."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.ledger import attest
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.trust import default_signer
from orchestrator.commands import run
from orchestrator.report import record
from orchestrator.report.exit_codes import ACCURACY

OLD = time.time() - 10 * 86400


@pytest.fixture
def between(monkeypatch):
    """Lets something happen when the run has its plan."""

    def set_up(happen):
        real = run.make_plan

        def planned(*about, **more):
            found = real(*about, **more)
            happen()
            return found

        monkeypatch.setattr(run, "make_plan", planned)

    return set_up


def kinds(farm) -> dict[str, str]:
    """How each task of the latest run ended."""
    ended = record.tasks(farm.store, record.ids(farm.store)[-1])
    return {name.partition("/")[2]: one["kind"] for name, one in ended.items()}


def serves(farm) -> bool:
    session = enginebundle.load(f"{farm.store.uri}/m", target="torch:cpu")
    return session(x=torch.ones(2, 4))["y"].shape == (2, 3)


def test_a_run_without_changes_reads_each_result_once(farm, monkeypatch):
    read, real = Counter(), LocalStorage.get

    def get(self, path, limit=None):
        read[path] += 1
        return real(self, path, limit)

    monkeypatch.setattr(LocalStorage, "get", get)
    assert farm.kiln("run") == 0
    assert set(kinds(farm).values()) == {"cached"}
    results = {path: n for path, n in read.items() if path.startswith("results/")}
    assert len(results) == 4  # a promotion keeps none
    assert set(results.values()) == {1}


def test_evidence_of_a_failure_that_comes_then_counts(farm, between):
    store, signer = farm.store, default_signer()
    (version,) = store.versions("m")

    def another_machine_fails():
        (newest,) = Bundle.open(store, version).evidence
        off = tuple(replace(c, passed=False, worst=3.0) for c in newest.content.cases)
        attest(store, version, replace(newest.content, passed=False, cases=off), signer)

    between(another_machine_fails)
    assert farm.kiln("run") == ACCURACY
    assert kinds(farm)["validate/torch:cpu"] == "failed"


def test_evidence_that_is_taken_away_then_is_written_anew(farm, between):
    def take_away():
        for folder in ("evidence", "heads"):
            shutil.rmtree(farm.folder / "store" / "bundles" / "m" / folder)

    between(take_away)
    assert farm.kiln("run") == 0
    assert len(farm.files("bundles/m/evidence/*/*/*.json")) == 1
    assert len(farm.files("bundles/m/heads/*/*/*.json")) == 1
    assert serves(farm)


def test_a_version_that_is_lost_then_is_published_again(farm, between):
    between(lambda: [path.unlink() for path in farm.files("bundles/m/versions/*.json")])
    assert farm.kiln("run") == 0
    assert kinds(farm)["trace"] == "cached"
    assert kinds(farm)["publish"] == "built"
    assert serves(farm)


def test_a_key_that_is_no_longer_trusted_then_is_none(farm, between):
    """The machine has a new key when the plan is made, and the version is of the old one."""

    def another_key():
        home = Path(os.environ["ENGINEBUNDLE_HOME"])
        shutil.rmtree(home / "trusted")
        (home / "key.pem").unlink()

    between(another_key)
    assert farm.kiln("run") != 0
    assert kinds(farm)["publish"] == "failed"


def test_a_sweep_then_takes_nothing_that_the_plan_found(farm, between):
    """No version reaches these results any more, and they are old: only the run that begins keeps them."""
    shutil.rmtree(farm.folder / "store" / "bundles")
    for path in (farm.folder / "store").rglob("*"):
        os.utime(path, (OLD, OLD))
    between(lambda: farm.kiln("gc", "--grace", "0"))
    assert farm.kiln("run") == 0
    found = kinds(farm)
    assert (found["trace"], found["build/torch:cpu"]) == ("cached", "cached")
    assert serves(farm)
