"""Models that trace and build in a moment, and some that can't."""

from __future__ import annotations

import time

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
    """Takes its time, so that a run can be killed while it is at it."""
    time.sleep(5)
    return Tiny(8, seed)
