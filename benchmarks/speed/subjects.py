"""The nine models: seeded random weights from their configurations, batch 8, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from benchmarks import zoo
from benchmarks.zoo.entry import Entry, draw, enliven
from benchmarks.zoo.libraries import transformers
from benchmarks.zoo.twelve import Field
from enginebundle.format.spec import Profile, Range, TensorSpec

BATCH = 8
DYNAMIC = Range(1, BATCH, 16)
"""What a dynamic batch may be. Every other size is fixed."""
LENGTH = 128
SLOTS = 256
"""Of the decode step's cache: 128 tokens lie in it, the step writes the next one."""


@dataclass(frozen=True)
class Subject:
    """`inputs` have the symbol `b`; `high` bounds what is drawn for integers, `set` gives it.

    `as_computed` begins the names of float inputs that lie in memory in the computed precision
    whoever runs the model: a cache. Our other float inputs stay float32, with a cast inside.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    high: Mapping[str, int] = field(default_factory=dict)
    set: Mapping[str, int] = field(default_factory=dict)
    as_computed: str = "-"
    outputs: tuple[str, ...] = ("output",)
    """As `named` has them."""

    def described(
        self, precision: str, dynamic: bool, all_half: bool = False, pinned: bool = False,
        batch: int = BATCH,
    ) -> tuple[tuple[TensorSpec, ...], Profile]:  # fmt: skip
        """Inputs and profile as given to our compiler, for `fp32` or `fp16`.

        `all_half` puts every float in half then. A static batch is a number in the shapes, or with
        `pinned` a symbol that the profile pins to that number.
        """
        found = []
        for spec in self.inputs:
            cast = all_half or spec.name.startswith(self.as_computed)
            half = precision == "fp16" and cast and spec.dtype == "float32"
            shape = spec.shape if dynamic or pinned else spec.sizes({"b": batch})
            found.append(TensorSpec(spec.name, "float16" if half else spec.dtype, shape))
        bounds = DYNAMIC if dynamic else Range(batch, batch, batch)
        return tuple(found), Profile("p", (("b", bounds),) if dynamic or pinned else ())

    def feeds(self, batch: int = BATCH) -> dict[str, torch.Tensor]:
        """Seeded values of the inputs, on the CPU, floats in float32."""
        generator = torch.Generator().manual_seed(1)
        return {spec.name: self._value(spec, batch, generator) for spec in self.inputs}

    def _value(self, spec: TensorSpec, batch: int, generator: torch.Generator) -> torch.Tensor:
        shape = spec.sizes({"b": batch})
        if spec.name in self.set:
            return torch.full(shape, self.set[spec.name], dtype=getattr(torch, spec.dtype))
        if spec.name.startswith(self.as_computed):
            return torch.randn(shape, generator=generator)
        return draw(spec, {"b": batch}, self.high, generator)


class Prefill(nn.Module):
    """The logits after a prompt's last token, without a cache: tokens [b, s] in, [b, vocabulary] out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits = self.network(input_ids=input_ids, use_cache=False, logits_to_keep=1).logits
        return logits[:, -1]  # type: ignore[no-any-return]


def _lively(name: str, inputs: tuple[TensorSpec, ...], model: nn.Module) -> nn.Module:
    return enliven(Entry(name, lambda: model, inputs, (), {}), model)


def _minilm() -> nn.Module:
    package = transformers()
    config = package.BertConfig(hidden_size=384, intermediate_size=1536)
    model = Field(package.BertModel(config, add_pooling_layer=False), "last_hidden_state")
    return _lively("minilm-like", _text("input_ids", "attention_mask"), model)


def _gpt2() -> Any:
    package = transformers()
    return _lively("gpt2", (), package.GPT2LMHeadModel(package.GPT2Config()))


def _decoder() -> nn.Module:
    from compiler.recipes.decoder import CachedDecoder

    return CachedDecoder(_gpt2())


def _text(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, "int64", ("b", LENGTH)) for name in names)


def _from_zoo(name: str) -> Subject:
    (entry,) = (one for one in zoo.ZOO if one.name == name)
    inputs = tuple(
        TensorSpec(s.name, s.dtype, tuple(LENGTH if n == "s" else n for n in s.shape))
        for s in entry.inputs
    )
    return Subject(name, lambda: zoo.build(name), inputs, entry.high)


def _decode() -> Subject:
    caches = tuple(
        TensorSpec(f"past_{part}_{layer}", "float32", ("b", 12, SLOTS, 64))
        for layer in range(12)
        for part in ("key", "value")
    )
    tokens = tuple(TensorSpec(name, "int64", ("b", 1)) for name in ("input_ids", "positions"))
    inputs = (*tokens, TensorSpec("logits_at", "int64", ("b",)), *caches)
    fixed = {"positions": LENGTH, "logits_at": 0}
    words = {"input_ids": 50256}
    kept = (f"{part}_{layer}" for layer in range(12) for part in ("key", "value"))
    return Subject("gpt2-decode", _decoder, inputs, words, fixed, "past_", ("logits", *kept))


_WORDS = {"input_ids": 30521, "attention_mask": 1}
FIRST = ("resnet50", "bert-base", "vit-base", "minilm-like")
"""The four of which figures exist."""
SUBJECTS: Mapping[str, Subject] = {
    subject.name: subject
    for subject in (
        _from_zoo("resnet50"),
        _from_zoo("bert-base"),
        _from_zoo("vit-base"),
        Subject("minilm-like", _minilm, _text("input_ids", "attention_mask"), _WORDS),
        Subject("gpt2-prefill", lambda: Prefill(_gpt2()), _text("input_ids"), {"input_ids": 50256}),
        _from_zoo("swin_tiny"),
        _from_zoo("convnext_tiny"),
        _from_zoo("efficientnet_b0"),
        _decode(),
    )
}


def build(name: str, half: bool = False) -> nn.Module:
    """Entrypoint: the model, in eval mode, with the same weights every time."""
    torch.manual_seed(0)
    model = SUBJECTS[name].make().eval()
    return model.half() if half else model


def named(outputs: Any) -> dict[str, torch.Tensor]:
    """The tensors of a model's result by name, `output` if there is one without a name."""
    return dict(outputs) if isinstance(outputs, Mapping) else {"output": outputs}
