"""The farm on a real S3 server behind a proxy with faults: two runs at once, and results that were deleted."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from tests.e2e.kiln import ROOT, command, environment
from tests.s3.conftest import Weather
from tests.s3.proxy import Proxy
from tests.s3.seaweed import BUCKET, Server

pytestmark = pytest.mark.slow
MANIFEST = """
models:
  - name: m
    source: {entrypoint: "tiny_models:tiny"}
    inputs: {x: {dtype: float32, shape: [b, 4]}}
    profiles: {any: {b: [1, 4, 8]}}
    targets: ["torch:cpu"]
    goldens: {seed: 1, cases: 2}
"""


def start(home: Path, *words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def test_two_publishers_make_one_version_and_deleted_results_stay_deleted(
    store: Store,
    through: str,
    prefix: str,
    server: Server,
    proxy: Proxy,
    tmp_path: Path,
    home: Path,
) -> None:
    shutil.copy(ROOT / "tests/orchestrator/builders/tiny_models.py", tmp_path)
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(MANIFEST)
    run = ("run", manifest, "--executor", "local", "--store", through)
    proxy.plan = Weather(5, every=10)
    for process in [start(home, *run), start(home, *run)]:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
    assert proxy.happened
    assert [version.number for version in store.versions("m")] == [1]
    assert store.aliases("m") == {"latest": 1}

    raw = server.raw()
    keys = [
        one["Key"] for one in raw.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]
    ]
    assert not [key for key in keys if "/agreements/" in key or "/leases/" in key]
    results = [key for key in keys if key.startswith(f"{prefix}/results/")]
    assert results
    for key in results:
        raw.delete_object(Bucket=BUCKET, Key=key)
    plan = start(home, "plan", manifest, "-o", "json", "--store", store.uri)
    assert "cached" not in json.loads(plan.communicate(timeout=600)[0])["counts"]
    again = start(home, *run)
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, out + err
    assert [version.number for version in store.versions("m")] == [1]
    assert len(store.storage.files("results")) == len(results)
