"""Small modules, and tiny configurations of real architectures, with inputs and profiles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Range, TensorSpec


def spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def profile(name: str = "p", **ranges: tuple[int, int, int]) -> Profile:
    return Profile(name, tuple((symbol, Range(*bounds)) for symbol, bounds in ranges.items()))


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return x * 2


class Doubled(nn.Module):
    """`x` has 2*s columns, `y` s of them."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        halves = x.reshape(x.shape[0], 2, x.shape[1] // 2)
        return {"sum": halves[:, 0] + halves[:, 1] + y, "flat": x.flatten()}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(8, 8, bias=False)
        self.two = nn.Linear(8, 8, bias=False)
        self.two.weight = self.one.weight
        self.copy = nn.Linear(8, 8, bias=False)
        self.copy.weight = nn.Parameter(self.one.weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.copy(self.two(self.one(x)))
        return result


class Difference(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x - y


class Limited(nn.Module):
    """A table of 64 positions: longer inputs fail."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > 64:
            raise ValueError("at most 64 positions")
        return x + 1


class Unrolled(nn.Module):
    """A loop over time that Python runs."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(8, 6)

    def forward(self, x: torch.Tensor) -> Any:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return state


class Structured(nn.Module):
    """Nested outputs, None, a size as a number, an input and a buffer handed back."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {
            "hidden": (x * 2, x + 1),
            "nothing": None,
            "rows": x.shape[0],
            "same": x,
            "table": self.table,
        }


class Counter(nn.Module):
    """Counts its calls in a buffer; `read` says whether the count reaches the output."""

    def __init__(self, read: bool) -> None:
        super().__init__()
        self.read = read
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return x + self.calls if self.read else x + 1


class Positions(nn.Module):
    """Sines of large positions: float16 can't count that far."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 4)
        self.register_buffer("frequency", torch.tensor([1.0, 0.1, 0.01, 0.001]))

    def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        angle = position[..., None].float() * self.frequency
        result: torch.Tensor = self.project(x) + torch.sin(angle)
        return result


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 4))
        self.norm = nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.norm(self.layers(x))
        return result


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


Case = tuple[nn.Module, tuple[TensorSpec, ...], tuple[Profile, ...]]

_TEXT = (spec("input_ids", "int64", "b", "s"), spec("attention_mask", "int64", "b", "s"))
_TEXT_PROFILES = (
    profile("short", b=(1, 2, 4), s=(1, 8, 16)),
    profile("long", b=(1, 2, 4), s=(16, 24, 48)),
)
_BATCH = (profile(b=(1, 2, 4)),)


def bert() -> Case:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        vocab_size=99,
    )  # fmt: skip
    return BertModel(config), _TEXT, _TEXT_PROFILES


def gpt2() -> Case:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=99, n_embd=32, n_layer=2, n_head=4, use_cache=False, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return GPT2LMHeadModel(config), _TEXT, _TEXT_PROFILES


def t5_encoder() -> Case:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return T5EncoderModel(config), _TEXT, _TEXT_PROFILES


def vit() -> Case:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    return ViTModel(config), (spec("pixel_values", "float32", "b", 3, 32, 32),), _BATCH


def llama() -> Case:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, use_cache=False,
    )  # fmt: skip
    return LlamaForCausalLM(config), _TEXT, _TEXT_PROFILES


def resnet() -> Case:
    import timm

    return timm.create_model("resnet18"), (spec("x", "float32", "b", 3, 64, 64),), _BATCH


def lstm() -> Case:
    model = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
    return model, (spec("input", "float32", "b", 5, 8),), _BATCH


REAL: dict[str, Callable[[], Case]] = {
    f.__name__: f for f in (bert, gpt2, t5_encoder, vit, llama, resnet, lstm)
}


def build(name: str) -> Case:
    """One of REAL, the same weights each time, in eval mode."""
    from torchvision_on_cpu import prepare

    prepare()
    torch.manual_seed(0)
    model, inputs, profiles = REAL[name]()
    return model.eval(), inputs, profiles


@functools.cache
def traced(name: str) -> tuple[ExportedProgram, tuple[TensorSpec, ...]]:
    """One of REAL as exported, once a process: tracing is most of such a test's time."""
    model, inputs, profiles = build(name)
    return trace(model, inputs, profiles), inputs


class Asks(nn.Module):
    """Asks for a number, for a width of each input and for the height of one, each in a line of its own."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        torch._check(y.sum().long().item() == 21)
        if y.shape[1] == 7:
            y = y * 2
        if x.shape[0] == 3:
            x = x * 3
        if x.shape[1] == 5:
            x = x * 5
        return x.sum() + y.sum()
