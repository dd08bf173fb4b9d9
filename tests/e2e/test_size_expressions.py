"""Sizes as expressions, from the manifest to a call of the loaded bundle."""

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


def grid():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Rows(nn.Module):
    def forward(self, x):
        return x.cumsum(1) * x.shape[1]


def rows():
    return Rows()
"""

MANIFEST = """
defaults:
  targets: ["torch:cpu", "rtx:sm_89"]
  min_nodes: 1
models:
  - name: grid
    source: {entrypoint: "sized:grid"}
    inputs: {input: {dtype: float32, shape: [b, 3, 32*h, 32*w]}}
    profiles: {default: {b: [1, 2, 3], h: [1, 2, 3], w: [1, 2, 4]}}
  - name: odd
    source: {entrypoint: "sized:rows"}
    inputs: {x: {dtype: float32, shape: [b, 2*n + 1]}}
    profiles: {default: {b: [1, 2, 3], n: [1, 4, 8]}}
  - name: falling
    source: {entrypoint: "sized:rows"}
    inputs: {x: {dtype: float32, shape: [b, 40 - s]}}
    profiles: {default: {b: [1, 2, 3], s: [1, 4, 30]}}
"""
CALLS = {
    "grid": ((1, 3, 32, 128), (3, 3, 96, 32), (2, 3, 64, 64)),
    "odd": ((1, 3), (2, 17), (3, 9)),
    "falling": ((1, 10), (2, 39), (3, 36)),
}
WRONG = {"grid": (1, 3, 33, 32), "odd": (1, 4), "falling": (1, 9)}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "sized.py").write_text(CODE)
    (folder / "m.yaml").write_text(MANIFEST)
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


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_symbols_their_values(
    work: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(work / "home"))
    monkeypatch.syspath_prepend(work)
    model = getattr(__import__("sized"), "grid" if name == "grid" else "rows")()
    session = enginebundle.load(f"{work}/store/{name}")
    input_name = session.inputs[0].name
    for shape in CALLS[name]:
        x = torch.randn(shape)
        (got,) = session(**{input_name: x}).values()
        with torch.no_grad():
            torch.testing.assert_close(got, model(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError):
        session(**{input_name: torch.randn(WRONG[name])})


@pytest.mark.parametrize("shape", ["[b, h//2]", "[b, n % 8]", "[b, n*n]", '[b, "max(n, 4)"]'])
def test_a_size_that_tells_nothing_is_refused_before_anything_is_built(
    tmp_path: Path, shape: str
) -> None:
    symbol = "h" if "h" in shape else "n"
    text = MANIFEST.replace("[b, 2*n + 1]", shape).replace("n: [1, 4, 8]", f"{symbol}: [2, 4, 8]")
    (tmp_path / "m.yaml").write_text(text)
    done = kiln(tmp_path / "home", "validate-manifest", tmp_path / "m.yaml")
    assert done.returncode == 2
    assert f"no input's size tells the value of '{symbol}'" in done.stdout + done.stderr
