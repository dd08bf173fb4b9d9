"""Three models that build in seconds, and one that cannot run."""

from __future__ import annotations

import torch
from torch import nn

Cases = list[tuple[str, dict[str, torch.Tensor]]]


class Perceptron(nn.Module):
    """float32 [b, 8] -> scores [b, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 3))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"scores": self.layers(x).softmax(-1)}


class Reader(nn.Module):
    """Token ids int64 [b, s] -> one vector for each row [b, 16], by self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.project = nn.Linear(16, 48)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        query, key, value = self.project(self.words(ids)).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return {"vector": attended.mean(1)}


class Broken(nn.Module):
    """Its forward always raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the flux capacitor is missing")


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return Perceptron()


def perceptron_goldens() -> Cases:
    generator = torch.Generator().manual_seed(1)
    return [(f"b{b}", {"x": torch.randn(b, 8, generator=generator)}) for b in (1, 2, 4)]


def reader() -> nn.Module:
    torch.manual_seed(0)
    return Reader()


def reader_goldens() -> Cases:
    generator = torch.Generator().manual_seed(1)
    sizes = ((1, 4), (2, 8), (4, 16))
    return [
        (f"b{b}s{s}", {"ids": torch.randint(0, 50, (b, s), generator=generator)}) for b, s in sizes
    ]


def broken() -> nn.Module:
    return Broken()
