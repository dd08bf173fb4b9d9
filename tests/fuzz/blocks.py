"""Blocks that real models are made of, small: each takes [b, s, WIDTH] and gives the same shape.

BLOCKS       blocks of one value
SHARING      blocks of two values, which share a projection or a query
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

WIDTH, HEADS = 16, 4
attend = F.scaled_dot_product_attention


def heads(x: Tensor, count: int = HEADS) -> Tensor:
    """[b, s, w] -> [b, count, s, w / count]"""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Four linear layers, for whoever needs them."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))


class Attention(Block):
    def __init__(self, causal: bool = False, scale: float | None = None) -> None:
        super().__init__()
        self.causal, self.scale = causal, scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        return self.o(merged(attend(q, k, v, is_causal=self.causal, scale=self.scale)))


class Written(Block):
    """Attention as its formula, with a mask that is added."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        s = x.shape[1]
        far = torch.arange(s)[None, :] - torch.arange(s)[:, None]
        bias = -0.5 * far.abs()
        weights = (q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + bias).softmax(-1)
        return self.o(merged(weights @ v))


class Grouped(Block):
    """Two heads of keys for four of queries."""

    def forward(self, x: Tensor) -> Tensor:
        q = heads(self.q(x))
        k, v = (
            heads(t[..., : WIDTH // 2], 2).repeat_interleave(2, 1) for t in (self.k(x), self.v(x))
        )
        return self.o(merged(attend(q, k, v, is_causal=True)))


class Rotary(Block):
    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], dtype=x.dtype)[:, None]
        angle = place * torch.tensor([1.0, 0.1])
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

        def turned(t: Tensor) -> Tensor:
            one, two = t.chunk(2, -1)
            return t * cos + torch.cat((-two, one), -1) * sin

        q, k = turned(heads(self.q(x))), turned(heads(self.k(x)))
        return self.o(merged(attend(q, k, heads(self.v(x)))))


class Library(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Differential(Block):
    """Two attentions whose queries or keys are shared, one subtracted from the other."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        return self.o(merged(attend(q, k, v) - 0.6 * attend(q, v, k)))


class Gated(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.o(F.silu(self.q(x)) * self.k(x))


class Along(nn.Module):
    """A module on [b, w, s]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, 2 * WIDTH, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x.transpose(1, 2))
        made = made + torch.zeros_like(made)  # the condition of VITS where there is none
        one, two = made.chunk(2, 1)
        return (one.tanh() * two.sigmoid()).transpose(1, 2)


class Halved(nn.Module):
    """Every other place, and back."""

    def forward(self, x: Tensor) -> Tensor:
        made = F.avg_pool1d(x.transpose(1, 2), 2, ceil_mode=True)
        return made.repeat_interleave(2, -1)[..., : x.shape[1]].transpose(1, 2)


class Squeezed(Block):
    """A gate from the mean over all places."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.k(F.relu(self.q(x.mean(1, keepdim=True)))).sigmoid()


class Patches(nn.Module):
    """The width as an image of 4 x 4, convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2),
            nn.ConvTranspose2d(4, 1, 2, 2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        image = x.reshape(-1, 1, 4, 4)
        return self.layers(image).reshape(x.shape)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], both: bool = False) -> None:
        super().__init__()
        size = WIDTH // 2 if both else WIDTH
        self.layer = kind(WIDTH, size, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Positions(nn.Module):
    """Embeddings of the places, and of numbers made from them."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.parity = nn.Embedding(32, WIDTH), nn.Embedding(2, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1])
        return x + self.places(places) - self.parity(places % 2)


class Averaged(nn.Module):
    """The mean of everything so far."""

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)
        return x.cumsum(1) / count[:, None]


class Experts(Block):
    """Two experts, mixed by weights that each place computes."""

    def forward(self, x: Tensor) -> Tensor:
        weights = self.q(x)[..., :2].softmax(-1)
        made = torch.stack((F.relu(self.k(x)), self.v(x).tanh()), -1)
        return (made * weights[..., None, :]).sum(-1)


class RMS(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3) * self.weight


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 24), nn.GELU(), nn.Linear(24, WIDTH))


BLOCKS: tuple[Callable[[], nn.Module], ...] = (
    Attention, lambda: Attention(True), lambda: Attention(scale=1.0), Written, Grouped, Rotary, Library,
    Differential, Gated, WaveNet, Halved, Squeezed, Patches, Positions, Averaged, Experts, RMS, perceptron,
    lambda: nn.LayerNorm(WIDTH), lambda: nn.RMSNorm(WIDTH), lambda: Recurrent(nn.LSTM),
    lambda: Recurrent(nn.GRU), lambda: Recurrent(nn.LSTM, True), lambda: Recurrent(nn.RNN),
    lambda: nn.Softmax(-1), nn.Tanh, lambda: nn.Linear(WIDTH, WIDTH),
    lambda: Along(nn.Conv1d(WIDTH, WIDTH, 3, padding=1)),
    lambda: Along(nn.Conv1d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH), nn.SiLU()),
    lambda: Along(nn.Conv1d(WIDTH, 8, 1), nn.ConvTranspose1d(8, WIDTH, 3, padding=1)),
    lambda: Along(nn.MaxPool1d(3, 1, 1)), lambda: Along(nn.BatchNorm1d(WIDTH)),
    lambda: Along(nn.GroupNorm(4, WIDTH)), lambda: Along(nn.InstanceNorm1d(WIDTH, affine=True)),
)  # fmt: skip


class Crossed(Block):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.o(merged(attend(heads(self.q(x)), heads(self.k(y)), heads(self.v(y)))))


class Adapter(Block):
    """Attention to two contexts with one query, as in an IP-Adapter."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q = heads(self.q(x))
        first = attend(q, heads(self.k(x)), heads(self.v(x)))
        second = attend(q, heads(self.k(y)), heads(self.v(y)))
        return self.o(merged(first + 0.6 * second))


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.linear(torch.cat((x, y), -1))


class Modulated(Block):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale = self.q(y.mean(1, keepdim=True)), self.k(y.mean(1, keepdim=True))
        return F.layer_norm(x, (WIDTH,)) * (1 + scale) + shift


class Interleaved(nn.Module):
    """Both in turn along the places; the first half of them."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.stack((x, y), 2).flatten(1, 2)
        return both[:, : x.shape[1]]


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Product(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y.sigmoid()


SHARING: tuple[Callable[[], Any], ...] = (
    Crossed, Adapter, Joined, Modulated, Interleaved, Sum, Sum, Product,
)  # fmt: skip
