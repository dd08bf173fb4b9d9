"""manifests/plugin.yaml where there is no GPU: what has no plugins is built without, the rest is blocked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from enginebundle.serve.machine import this_machine
from enginebundle.storage.store import Store
from orchestrator.report import record
from tests.e2e.kiln import ROOT, kiln


@pytest.mark.skipif(this_machine().arch is not None, reason="benchmarks/gpu_plugin.py has more")
def test_a_model_with_a_plugin_runs_without_it_on_other_targets(tmp_path: Path) -> None:
    for name in ("plugin.yaml", "plugin_model.py", "plugin_gated.py"):
        shutil.copy(ROOT / "manifests" / name, tmp_path)
    uri, home = tmp_path / "store", tmp_path / "home"
    command = ("run", tmp_path / "plugin.yaml", "--store", uri, "--executor", "local")
    run = kiln(home, *command)
    assert run.returncode == 5, run.stderr
    assert "2 built, 1 validated, 1 pending, 0 failed, 1 blocked" in run.stdout
    store = Store.open(uri)
    made = record.results(store, record.ids(store)[-1])
    for target in ("torch:cpu", "rtx:sm_89/batch"):
        output = made["tasks"][f"gated/build/{target}"]["output"]
        report = json.loads(store.read_blob(output["report"]))
        assert "has no plugins" in report["plugins_missing"]["kiln_plugin.gated.default"]
    planned = kiln(home, "plan", tmp_path / "plugin.yaml", "--store", uri, "-o", "json")
    tasks = {task["id"]: task for task in json.loads(planned.stdout)["tasks"]}
    spec = tasks["gated/build/trt:sm_90/batch"]["spec"]
    assert spec["plugins"]["entrypoints"] == ["plugin_gated:register"]
    assert "plugins" not in tasks["gated/build/torch:cpu"]["spec"]
