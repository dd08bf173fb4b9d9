"""torch.compile(backend="kiln") on a device: engines built, stored, opened and run."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from compiler.dynamo import KilnWarning

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


class Breaks(nn.Module):
    """float32 [b, 16] -> [b, 4], with a graph break, a number from a size and a choice by data."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        for layer in self.layers:
            x = torch.nn.functional.gelu(layer(x)) + torch.arange(16, device=x.device)
        torch._dynamo.graph_break()
        x = self.norm(x)
        if x.sum() > 1e6:
            x = x / 2
        return self.head(x).t(), x.shape[0] * 2


def target() -> str:
    """TensorRT-RTX names no sm_90; an engine for sm_80 runs there."""
    major, minor = torch.cuda.get_device_capability()
    return "rtx:sm_80" if (major, minor) == (9, 0) else f"rtx:sm_{major}{minor}"


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_engines_run_and_nothing_recompiles(tmp_path: Path, device: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    torch.manual_seed(0)
    torch._dynamo.reset()
    counters.clear()
    model = Breaks().eval().to(device)
    options = {"store": tmp_path, "target": target(), "min_nodes": 1}
    compiled = torch.compile(model, backend="kiln", options=options)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", KilnWarning)
        # What comes after the break is not marked: its engine is for 8 times the first size that
        # differed, 2.
        for rows in (4, 2, 9, 16):
            x = torch.randn(rows, 16, device=device)
            torch._dynamo.mark_dynamic(x, 0, min=2, max=32)
            (got, doubled), (want, _) = compiled(x), model(x)
            assert (got.device, got.stride(), doubled) == (want.device, want.stride(), 2 * rows)
            torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-2)
            graphs = counters["stats"]["unique_graphs"]
    assert len(list(tmp_path.glob("results/*/*.json"))) >= 2
    # A second process' view: the same graphs, no engine built.
    torch._dynamo.reset()
    before = sorted(tmp_path.rglob("*"))
    with torch.no_grad():
        x = torch.randn(4, 16, device=device)
        torch._dynamo.mark_dynamic(x, 0, min=2, max=32)
        torch.compile(model, backend="kiln", options=options)(x)
    assert sorted(tmp_path.rglob("*")) == before
    assert graphs >= 2
