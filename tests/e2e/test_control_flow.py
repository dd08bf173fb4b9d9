"""Bundles of models with branches, loops, writes and operators of their own: built by the farm, and served by
the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.format.graph import Graph
from tests.e2e.farm import flow_models
from tests.e2e.kiln import FARM, kiln

OWN = {"scaled": ("kilntest.scale.default",), "written": ("kilntest.tally.default",)}
"""Operators that no bundle may call unasked, by model."""
INPUTS = {
    "gated": [torch.full((2, 4), -1.0), torch.full((3, 4), 2.0), torch.randn(6, 4).abs()],
    "scaled": [torch.full((2, 4), -1.0), torch.full((3, 4), 2.0)],
    "written": [torch.full((2, 4), -1.0), torch.full((3, 4), 2.0)],
    "recurrent": [torch.randn(1, 1, 4), torch.randn(3, 9, 4), torch.zeros(6, 2, 4)],
}


def test_the_loader_serves_branches_and_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    store = tmp_path / "store"
    done = kiln(
        tmp_path / "home", "run", FARM / "flow.yaml", "--store", store, "--executor", "local"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, inputs in INPUTS.items():
        own = OWN.get(name, ())
        session = enginebundle.load(f"{store}/{name}", target="torch:cpu", operators=own)
        model = getattr(flow_models, name)()
        for x in inputs:
            after = x.clone()
            with torch.no_grad():
                want = model(after)
            if name == "written":
                want["x_after"] = after
            given = x.clone()
            got = session(x=given)
            assert torch.equal(given, x)
            assert got.keys() == want.keys()
            for key, tensor in want.items():
                torch.testing.assert_close(got[key], tensor)
        index = session.bundle.index
        (engines,) = (v for v in index.variants if v.target.backend == "rtx")
        kinds = [segment.kind for segment in engines.parts[0].segments]
        assert kinds.count("engine") >= 2, kinds
        for variant in index.variants:
            graphs = [
                Graph.from_json(json.loads(session.bundle.read(segment.blob)))
                for segment in variant.parts[0].segments
                if segment.kind == "torch_graph"
            ]
            flow = any(node.bodies() for graph in graphs for node in graph.nodes)
            assert flow == (name != "written")
            assert variant.operators == own
    with pytest.raises(
        enginebundle.BundleError, match=r"calls 'kilntest.scale.default', which no bundle may call"
    ):
        enginebundle.load(f"{store}/scaled")
    for unknown in ("mylib::unknown", "aten::relu_"):
        with pytest.raises(enginebundle.BundleError, match=f"'{unknown}' is not registered"):
            enginebundle.load(f"{store}/gated", operators=[unknown])
    target = ("scaled", "--target", "torch:cpu", "--store", store)
    assert kiln(tmp_path / "home", "validate", *target).returncode != 0
