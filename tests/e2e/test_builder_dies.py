"""A model of which TensorRT-RTX's builder dies is built: what it dies of runs in torch, and the run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kiln import kiln

pytest.importorskip("tensorrt_rtx")

MODELS = """
import torch
from torch.nn.functional import scaled_dot_product_attention as attend


class Deadly(torch.nn.Module):
    def forward(self, q, k, v, w):
        one = attend(q * 0.5, k * 0.25, v, scale=1.0)
        return torch.tanh(one + 0.6 * attend(q * 0.5, k * 0.25, w, scale=1.0)) * v + w


def deadly():
    return Deadly()
"""
MANIFEST = """
models:
  - name: deadly
    source: { entrypoint: "deadly_models:deadly" }
    inputs: { q: &t { dtype: float32, shape: [b, 4, 16, 8] }, k: *t, v: *t, w: *t }
    profiles: { batch: { b: [1, 2, 4] } }
    targets: ["rtx:sm_89"]
    min_nodes: 1
"""


def test_what_the_builder_dies_of_runs_in_torch(tmp_path: Path) -> None:
    (tmp_path / "deadly_models.py").write_text(MODELS)
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    store, home = tmp_path / "store", tmp_path / "home"
    done = kiln(home, "run", tmp_path / "manifest.yaml", "--store", store, "--executor", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 built" in done.stdout
    report = kiln(home, "report", done.stderr.split("run ")[1].split(":")[0], "--store", store)
    assert "died of SIGSEGV" in report.stdout + report.stderr
