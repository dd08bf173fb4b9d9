"""A model with an operator of its own: declared as PyTorch wants it, without TensorRT."""

from __future__ import annotations

import torch
from torch import nn


@torch.library.custom_op("kiln_plugin::gated", mutates_args=())
def gated(x: torch.Tensor, gate: torch.Tensor, scale: float) -> torch.Tensor:
    """x * sigmoid(scale * gate), element by element."""
    return x * torch.sigmoid(gate * scale)


@gated.register_fake
def _(x: torch.Tensor, gate: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.empty_like(x)


class Gated(nn.Module):
    """x float32 [b, 64] -> scores [b, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Linear(64, 128)
        self.gates = nn.Linear(64, 128)
        self.out = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.ops.kiln_plugin.gated(self.values(x), self.gates(x), 1.702)
        scores: torch.Tensor = self.out(hidden)
        return scores


def model() -> nn.Module:
    torch.manual_seed(0)
    return Gated()
