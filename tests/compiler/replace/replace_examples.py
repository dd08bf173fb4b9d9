"""A user's module: models, and what stands in for their pieces."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


@torch.library.custom_op("kiln_examples::wave", mutates_args=())
def wave(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.sin(x * scale) + x


@wave.register_fake
def _(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("kiln_examples::opaque", mutates_args=())
def opaque(x: torch.Tensor) -> torch.Tensor:
    """As one that calls a kernel: no trace sees what it does."""
    return torch.from_numpy(x.numpy() * 2)


@opaque.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Opaque(nn.Module):
    """float32 [b, 8] -> [b, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.kiln_examples.opaque(self.fc(x))


def opaque_model() -> nn.Module:
    return Opaque()


registered: list[str] = []


def register() -> None:
    """As one that registers TensorRT plugins."""
    registered.append("Wave@1")


def register_badly() -> None:
    raise OSError("no such library")


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def plain_wave(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.sin(x * scale) + x


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(self.fc(x))
        return result


class Model(nn.Module):
    """float32 [b, 8] -> [b, 8], with one call of each kind that can be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.kiln_examples.wave(swish(self.blocks(x)), 2.0)


class Plain(nn.Module):
    """The same without an operator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return swish(self.blocks(x))


class Encoder(nn.Module):
    """float32 [b, s, 16] -> [b, s, 16]: two torch encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


def _seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


def model() -> nn.Module:
    return _seeded(Model)


def plain() -> nn.Module:
    return _seeded(Plain)


def encoder() -> nn.Module:
    return _seeded(Encoder)


def wave_on_net(net: Any, x: Any, scale: float) -> Any:
    return net.add(net.unary(net.mul(x, net.scalar(scale, x.dtype)), "SIN"), x)


def wrong_wave_on_net(net: Any, x: Any, scale: float) -> Any:
    return net.unary(net.mul(x, net.scalar(scale, x.dtype)), "SIN")


def wave_that_reads_past(net: Any, x: Any, scale: float) -> Any:
    return net.gather(x, net.constant(torch.tensor([0, 1, 2, 3, 4, 5, 6, 99])), 1)


def wave_of_five_rows(net: Any, x: Any, scale: float) -> Any:
    return net.reshape(x, (5, 8))


def wave_times_itself(net: Any, x: Any, scale: float) -> Any:
    return net.matmul(x, x)


def wave_misnamed(net: Any, x: Any, factor: float) -> Any:
    return x


def swish_on_net(net: Any, x: Any) -> Any:
    return net.mul(x, net.activation(x, "SIGMOID"))


class Doubled(nn.Module):
    def __init__(self, old: nn.Module) -> None:
        super().__init__()
        self.old = old

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half: torch.Tensor = self.old(x)
        return half * 2


def fused(old: Block) -> nn.Module:
    """The same numbers from other modules."""
    return nn.Sequential(old.fc, nn.GELU())


def doubled(old: nn.Module) -> nn.Module:
    return Doubled(old)


def not_a_module(old: nn.Module) -> str:
    return "module"


def gelu_by_erf(x: torch.Tensor, approximate: str = "none") -> torch.Tensor:
    return x * 0.5 * (1 + torch.erf(x * 2**-0.5))


def gelu_on_net(net: Any, self: Any, approximate: str) -> Any:
    """By hand, where the compiler would use TensorRT's own GELU."""
    half, root, one = (net.scalar(c, self.dtype) for c in (0.5, 2**-0.5, 1.0))
    bell = net.add(net.unary(net.mul(self, root), "ERF"), one)
    return net.mul(net.mul(self, half), bell)


def swish_as_gelu(net: Any, self: Any, approximate: str) -> Any:
    """A wrong converter: close, and not close enough."""
    return swish_on_net(net, self)
