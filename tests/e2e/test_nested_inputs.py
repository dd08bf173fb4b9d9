"""Inputs in lists and dicts, and an exported program under its own names: from the manifest to a call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.errors import InputError
from tests.e2e.kiln import kiln

CODE = """
import torch
from torch import nn


class Detects(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, feats, batch: dict):
        made = sum(self.linear(one).relu() for one in feats)
        return {"scores": made * batch["mask"], "ids": batch["ids"] + 1}


def detects():
    torch.manual_seed(0)
    return Detects()


def cases():
    torch.manual_seed(1)
    return [
        {"feats": [torch.randn(n, 4), torch.randn(n, 4)],
         "batch": {"mask": torch.rand(n, 4), "ids": torch.arange(n)}}
        for n in (2, 5)
    ]
"""
INPUTS = """
    inputs:
      feats.0: {dtype: float32, shape: [b, 4]}
      feats.1: {dtype: float32, shape: [b, 4]}
      batch.ids: {dtype: int64, shape: [b]}
      batch.mask: {dtype: float32, shape: [b, 4]}
    profiles: {default: {b: [2, 3, 6]}}
    targets: ["torch:cpu", "rtx:sm_89"]
    min_nodes: 1
"""
MANIFEST = f"""
models:
  - name: module
    source: {{entrypoint: "nests:detects"}}
    goldens: {{entrypoint: "nests:cases"}}{INPUTS}
  - name: program
    source: {{program: detects.pt2, trusted: true}}
    goldens: {{seed: 1}}{INPUTS}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nested")
    (folder / "nests.py").write_text(CODE)
    (folder / "m.yaml").write_text(MANIFEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        nests = __import__("nests")
    sizes = {0: torch.export.Dim("b", min=2, max=6)}
    case = nests.cases()[1]
    shapes = ([sizes, sizes], {"mask": sizes, "ids": sizes})
    exported = torch.export.export(
        nests.detects().eval(), (case["feats"], case["batch"]), dynamic_shapes=shapes
    )
    torch.export.save(exported, folder / "detects.pt2")
    done = kiln(
        folder / "home",
        "run",
        folder / "m.yaml",
        "--store",
        folder / "store",
        "--executor",
        "local",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("name", ["module", "program"])
def test_a_call_nests_as_forward_does(
    work: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(work / "home"))
    session = enginebundle.load(f"{work}/store/{name}")
    nests = __import__("nests")
    (case, _), model = nests.cases(), nests.detects()
    with torch.no_grad():
        want = model(**case)
    flat = {"feats.0": case["feats"][0], "feats.1": case["feats"][1]}
    flat |= {f"batch.{key}": value for key, value in case["batch"].items()}
    for given in (case, flat, {"feats": tuple(case["feats"]), "batch": case["batch"]}):
        got = session(**given)
        assert got.keys() == want.keys()
        for key, value in want.items():
            torch.testing.assert_close(got[key], value)
        assert session.profile_for(**given).name == "default"
    with pytest.raises(InputError, match=r"missing \['feats.1'\]"):
        session(feats=case["feats"][:1], batch=case["batch"])
    engines = [v for v in session.bundle.index.variants if v.target.backend == "rtx"]
    assert [s.kind for s in engines[0].parts[0].segments] == ["engine"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("feats", "lies in 'feats', which is an input itself"),
        ("feats.", "with the way there: feats.0, batch.ids"),
        ("1.feats", "expected a Python name"),
    ],
)
def test_wrong_names_are_found_in_the_manifest(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("feats.0", name))
    done = kiln(tmp_path / "home", "validate-manifest", tmp_path / "m.yaml")
    assert done.returncode == 2
    assert text in done.stdout + done.stderr
