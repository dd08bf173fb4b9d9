"""Models that trace and build in a moment, and some that can't."""

from __future__ import annotations

from typing import Any

import torch


class Tiny(torch.nn.Module):
    """Two products and an activation."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = torch.nn.Linear(4, width)
        self.second = torch.nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": self.second(torch.relu(self.first(x)))}


class Choosy(torch.nn.Module):
    """Looks at its data, which export refuses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


def tiny(width: int = 8, seed: int = 0) -> torch.nn.Module:
    return Tiny(width, seed)


def choosy() -> torch.nn.Module:
    return Choosy()


def slow(seed: int = 0) -> torch.nn.Module:
    """Takes its time: a run can be killed while it is at it."""
    import time

    time.sleep(3)
    return Tiny(8, seed)


def manifest(folder: Any, *models: str) -> str:
    """The path of a manifest written into `folder`; `models` are lines of YAML, one a model."""
    text = "\n".join(
        [
            "defaults:",
            "  inputs: {x: {dtype: float32, shape: [b, 4]}}",
            "  profiles: {any: {b: [1, 4, 8]}}",
            '  targets: ["torch:cpu"]',
            "  goldens: {seed: 1, cases: 2}",
            "  memory: 2147483648",
            "models:",
            *(f"  - {line}" for line in models),
        ]
    )
    path = folder / "manifest.yaml"
    path.write_text(text + "\n")
    return str(path)
