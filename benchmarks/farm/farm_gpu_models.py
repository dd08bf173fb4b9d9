"""The models of manifest.yaml beside this file, with seeded random weights."""

from __future__ import annotations

import torch
from torch import nn


class Perceptron(nn.Module):
    """x float32 [b, 64] -> scores [b, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(x)
        return scores


class Causal(nn.Module):
    """Token ids int64 [b, s] -> the next token's logits [b, s, 100], by two blocks of causal attention."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.words = nn.Embedding(100, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.out = nn.Linear(width, 100)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        for norm, project in zip(self.norms, self.project, strict=True):
            parts = project(norm(x)).chunk(3, dim=-1)
            q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
            found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + found.transpose(1, 2).flatten(2)
        logits: torch.Tensor = self.out(x)
        return logits


class Bert(nn.Module):
    """ids int64 [b, s] -> the last hidden state [b, s, 64]."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=100, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=128, max_position_embeddings=64,
        )  # fmt: skip
        self.model = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.model(input_ids=ids).last_hidden_state
        return hidden


class Convolutional(nn.Module):
    """image float32 [b, 3, 32, 32] -> scores [b, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.SiLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, groups=4), nn.GroupNorm(4, 32), nn.SiLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(image)
        return scores


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return Perceptron()


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return Convolutional()


def causal() -> nn.Module:
    torch.manual_seed(0)
    return Causal()


def bert() -> nn.Module:
    torch.manual_seed(0)
    return Bert()


class Resnet(nn.Module):
    """image float32 [b, 3, 64, 64] -> scores [b, 10]."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.model = timm.create_model("resnet18", num_classes=10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.model(image)
        return scores


def resnet() -> nn.Module:
    torch.manual_seed(0)
    model = Resnet()
    with torch.no_grad():  # statistics for the batch norms, or the activations grow layer by layer
        model.train()(torch.randn(32, 3, 64, 64))
    return model.eval()
