"""`kiln plan --deep`: what it prints, and what a wrong name gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main

TINY = """
models:
  - name: tiny
    source: {entrypoint: "tiny_deep:model"}
    inputs: {x: {dtype: float32, shape: [b, 4]}}
    profiles: {default: {b: [1, 2, 4]}}
    targets: ["rtx:sm_89"]
    goldens: {seed: 0}
"""
MODEL = """
import torch
def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "tiny_deep.py").write_text(MODEL)
    path = tmp_path / "manifest.yaml"
    path.write_text(TINY)
    return path


def test_it_says_what_would_run_where(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(manifest), "--deep"]) == 0
    assert "tiny for rtx:sm_89: 1 engine segment with 3 of 3 nodes" in capsys.readouterr().out
    assert main(["plan", str(manifest), "-o", "json", "--deep", "tiny"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert planned["model"] == "tiny"


def test_a_name_that_is_not_there_is_a_usage_error(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(manifest), "--deep", "tinny"]) == 2
    assert "no model 'tinny'" in capsys.readouterr().err


@pytest.mark.parametrize("models", [(), ("tiny",)])
def test_the_manifest_may_stand_after_it(
    manifest: Path, models: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--deep", *models, str(manifest)]) == 0
    assert "tiny for rtx:sm_89: 1 engine segment" in capsys.readouterr().out


def test_without_a_manifest_it_says_which_word_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--deep"]) == 2
    assert "name the manifest's YAML file" in capsys.readouterr().err
