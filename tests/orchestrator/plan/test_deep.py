"""`kiln plan --deep`: where each node would run and why, without building anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.build import tensorrt_rtx
from orchestrator.manifest.load import load
from orchestrator.manifest.model import Manifest
from orchestrator.plan.deep import deep_plan

MODELS = """
import torch
from torch import nn


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.special.airy_ai(x @ x.mT + torch.eye(4))
        return x.sum(-1)


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Checked(nn.Module):
    def forward(self, x):
        assert (x < 100).all(), "too large"
        return torch.tanh(x @ x.mT) * torch.sigmoid(x.sum(-1, keepdim=True))


def checked():
    return Checked()


def mixed():
    return Mixed()


def branch():
    return Branch()


def plain():
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2))
"""
MANIFEST = """
defaults:
  inputs: { x: { dtype: float32, shape: [b, 4, 8] } }
  profiles: { p: { b: [1, 2, 4] } }
  targets: ["torch:cpu", "rtx:sm_86", "rtx:sm_89", "trt:sm_90"]
models:
  - { name: mixed, source: { entrypoint: "deep_models:mixed" } }
  - { name: branch, source: { entrypoint: "deep_models:branch" } }
  - { name: checked, source: { entrypoint: "deep_models:checked" } }
  - name: plain
    source: { entrypoint: "deep_models:plain" }
    replace: [{ module: GELU, with: "deep_models:act" }]
  - { name: misspelt, source: { entrypoint: "deep_models:plain" }, torch_executed_modules: [GELO] }
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    (tmp_path / "deep_models.py").write_text(MODELS + "\n\ndef act(old):\n    return nn.SiLU()\n")
    (tmp_path / "m.yaml").write_text(MANIFEST)

    def fail() -> None:
        raise AssertionError("a builder was asked for")

    monkeypatch.setattr(tensorrt_rtx, "module", fail)
    return load(tmp_path / "m.yaml")


def test_it_says_what_runs_where_and_why(manifest: Manifest) -> None:
    planned = deep_plan(manifest)
    found = {(one.model, one.targets[0].backend): one for one in planned}
    text = found["mixed", "rtx"].text()
    for part in (
        "mixed for rtx:sm_86, rtx:sm_89: 1 engine segment with 5 of 7 nodes",
        "aten.special_airy_ai",
        "no_converter",
        "deep_models.py:14",
        "torch.special.airy_ai(x @ x.mT",
        "remedy:",
    ):
        assert part in text
    assert "0 engine segments" in found["mixed", "torch"].text()
    assert found["mixed", "trt"].report == found["mixed", "rtx"].report
    plain = found["plain", "rtx"].text()
    assert "1 engine segment with" in plain
    assert "replaced module GELU by deep_models:act at 1" in plain
    json.dumps([one.to_json() for one in planned])


def test_what_can_t_be_traced_names_its_line(manifest: Manifest) -> None:
    (planned,) = deep_plan(manifest, ["branch"])
    assert "[data_dependent]" in planned.text()
    assert "deep_models.py" in planned.text()
    assert "Remedy" in planned.text()


def test_a_check_that_no_engine_makes_is_named(manifest: Manifest) -> None:
    for planned in deep_plan(manifest, ["checked"]):
        (place,) = planned.unchecked
        assert f"no engine makes this check: {place}" in planned.text()
        assert "deep_models.py:25 in forward: `assert (x < 100).all()" in place
        assert planned.to_json()["unchecked"] == [place]


def test_a_pattern_that_matches_nothing(manifest: Manifest) -> None:
    refused = {one.targets[0].backend: one.refused for one in deep_plan(manifest, ["misspelt"])}
    assert "near matches: GELU" in refused["rtx"]


def test_an_unknown_model(manifest: Manifest) -> None:
    with pytest.raises(KeyError):
        deep_plan(manifest, ["nope"])
