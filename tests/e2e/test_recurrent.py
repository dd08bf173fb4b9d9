"""Recurrent layers with a dynamic length, from a manifest to a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import enginebundle
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.store import Store
from tests.e2e.kiln import kiln

CODE = """
import torch
from torch import nn

class Tagger(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.table, self.layer, self.head = nn.Embedding(50, 8), layer, nn.Linear(12, 5)

    def forward(self, ids):
        out, state = self.layer(self.table(ids))
        return {"tags": self.head(out), "last": state[0]}

def tagger():
    torch.manual_seed(0)
    return Tagger(nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)).eval()
"""
MANIFEST = """
models:
  - name: tagger
    source: { entrypoint: "taggers:tagger" }
    inputs: { ids: { dtype: int64, shape: [b, t] } }
    profiles: { text: { b: [1, 2, 4], t: [1, 12, 60] } }
    targets: ["torch:cpu", "rtx:sm_89"]
"""


def test_one_engine_and_one_torch_graph_serve_every_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, home, store = tmp_path / "work", tmp_path / "home", tmp_path / "store"
    work.mkdir()
    (work / "taggers.py").write_text(CODE)
    (work / "manifest.yaml").write_text(MANIFEST)
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))
    done = kiln(home, "run", work / "manifest.yaml", "--store", store, "--executor", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    opened = Store.open(store)
    variants = Bundle.open(opened, opened.resolve("tagger")).index.variants
    (part,) = next(v for v in variants if v.target.backend == "rtx").parts
    assert [segment.kind for segment in part.segments] == ["engine"]
    scope: dict[str, Any] = {}
    exec(CODE, scope)
    eager = scope["tagger"]()
    session = enginebundle.load(f"{store}/tagger", target="torch:cpu")
    for b, t in ((1, 1), (2, 3), (3, 17), (4, 60)):
        ids = torch.randint(50, (b, t))
        with torch.no_grad():
            want = eager(ids)
        got = session(ids=ids)
        for key, value in want.items():
            torch.testing.assert_close(torch.as_tensor(got[key]), value, atol=1e-4, rtol=1e-4)
