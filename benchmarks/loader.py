"""What a call through the loader costs beside the model itself, on the CPU.

    python benchmarks/loader.py [--rounds 9] [--calls 200]

Small models are traced, published and validated for `torch:cpu` by `kiln run` in a temporary store; then, in
one thread, calls of `session(...)`, of the eager model under `torch.no_grad()` and of what `torch.export` gives
take turns. Each figure is the median of the rounds in microseconds a call; `ratio` is the median of each
round's session over eager. Writes benchmarks/results/loader.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks import results  # noqa: E402


class Perceptron(nn.Module):
    """x [b, 64] -> [b, 10]: six operators."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(x), -1)


class Encoder(nn.Module):
    """x [b, s, 64] -> the same: three layers of attention, written out as libraries write it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.ModuleList(self._layer()) for _ in range(3))

    @staticmethod
    def _layer() -> list[nn.Module]:
        mix = [nn.Linear(64, 64) for _ in range(4)]
        norms = [nn.LayerNorm(64), nn.LayerNorm(64)]
        return [*mix, *norms, nn.Linear(64, 128), nn.Linear(128, 64)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for q, k, v, out, before, behind, wide, narrow in self.parts:
            y = before(x)
            heads = [part(y).unflatten(-1, (4, 16)).transpose(1, 2) for part in (q, k, v)]
            mixed = nn.functional.scaled_dot_product_attention(*heads)
            x = x + out(mixed.transpose(1, 2).flatten(2))
            x = x + narrow(nn.functional.gelu(wide(behind(x))))
        return x


class Convolutional(nn.Module):
    """x [b, 3, 32, 32] -> [b, 10]: eight convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 16, 32, 32, 64, 64, 64, 64]
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, 1 + (a != b and a > 3), 1), nn.BatchNorm2d(b), nn.ReLU()
            )
            for a, b in pairs
        )
        self.out = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.out(x.mean((2, 3)))


MODELS = {"perceptron": Perceptron, "encoder": Encoder, "convolutional": Convolutional}
SHAPES = {"perceptron": "[b, 64]", "encoder": "[b, 16, 64]", "convolutional": "[b, 3, 32, 32]"}
SIZES = {"perceptron": (64,), "encoder": (16, 64), "convolutional": (3, 32, 32)}
BATCHES = (1, 8)


def build(name: str) -> nn.Module:
    """Entrypoint: the model with seeded weights."""
    torch.manual_seed(0)
    return MODELS[name]().eval()


def publish(folder: Path) -> None:
    lines = ["models:"]
    for name, shape in SHAPES.items():
        lines += [
            f"  - name: {name}",
            f'    source: {{ entrypoint: "benchmarks.loader:build", kwargs: {{ name: {name} }} }}',
            f"    inputs: {{ x: {{ dtype: float32, shape: {shape} }} }}",
            "    profiles: { batch: { b: [1, 4, 8] } }",
            '    targets: ["torch:cpu"]',
        ]
    (folder / "manifest.yaml").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "orchestrator.cli", "run", "manifest.yaml", "--store", "store"]
    subprocess.run(
        [*command, "--executor", "local"], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )


def timed(call: Callable[[], Any], calls: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e6


def measure(folder: Path, name: str, batch: int, rounds: int, calls: int) -> dict[str, Any]:
    import enginebundle

    session = enginebundle.load(f"{folder}/store/{name}", target="torch:cpu")
    model = build(name)
    x = torch.randn(batch, *SIZES[name])
    exported = torch.export.export(model, (x,)).module()

    def eager() -> Any:
        with torch.no_grad():
            return model(x)

    def as_exported() -> Any:
        with torch.no_grad():
            return exported(x)

    ways = {"session": lambda: session(x=x), "eager": eager, "exported": as_exported}
    for call in ways.values():
        timed(call, calls // 4)
    found = [{way: timed(call, calls) for way, call in ways.items()} for _ in range(rounds)]
    row = {f"{way}_us": round(statistics.median(r[way] for r in found), 1) for way in ways}
    ratio = statistics.median(r["session"] / r["eager"] for r in found)
    return {"model": name, "batch": batch, **row, "ratio": round(ratio, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="kiln-loader-") as name:
        folder = Path(name)
        os.environ["ENGINEBUNDLE_HOME"] = str(folder / "home")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        publish(folder)
        for model in MODELS:
            for batch in BATCHES:
                rows.append(measure(folder, model, batch, options.rounds, options.calls))
                print(rows[-1], flush=True)
    results.write("loader", {"torch:cpu": rows}, show=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
