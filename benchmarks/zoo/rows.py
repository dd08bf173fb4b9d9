"""Rows of the sweep's tables: a transformers class, cut down to the sizes that all rows share.

    text("electra", "ElectraModel", "last_hidden_state", embedding_size=16)

A row names the class, the fields of its result that are compared, and the options that its
configuration needs besides TINY.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.libraries import transformers
from enginebundle.format import dims
from enginebundle.format.spec import Profile, Range, TensorSpec

WORDS = 200
TINY: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "image_size": 64, "patch_size": 16,
    # With the usual 0.02, attention of this width would hardly affect the result.
    "initializer_range": 0.2, "init_std": 0.2,
}  # fmt: skip
"""Each configuration takes those of these options that it knows."""

LENGTH = Range(4, 8, 12)
SIZES = {
    "b": Range(1, 2, 3), "s": LENGTH, "t": Range(3, 5, 9), "h": Range(2, 3, 4), "w": Range(2, 2, 5),
}  # fmt: skip
IDS = ("b", "s")


class Call(nn.Module):
    """A transformers model called by keyword, and the fields of its result that are compared."""

    def __init__(self, network: nn.Module, returns: tuple[str, ...], options: Any) -> None:
        super().__init__()
        self.network = network
        self.returns = returns
        self.options = options

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        result = self.network(**inputs, **self.options)
        return {field: getattr(result, field) for field in self.returns}


def tiny(kind: str, **options: Any) -> Any:
    """The configuration of this class, cut down. An option that is a function is called first."""
    config = getattr(transformers(), kind)
    other_name = dict(config.attribute_map)
    known = {field.name for field in dataclasses.fields(config)} | set(other_name)
    usual = {k: v for k, v in TINY.items() if k in known and other_name.get(k) not in options}
    given = {name: value() if callable(value) else value for name, value in options.items()}
    return config(**usual | given)


def network(kind: str, returns: str, part: str = "", **options: Any) -> nn.Module:
    """The model of this class, or a module inside it, ready to be called by keyword."""
    cls = getattr(transformers(), kind)
    model = cls(tiny(cls.config_class.__name__, **options))
    chosen = model.get_submodule(part)
    has_cache = "use_cache" in inspect.signature(chosen.forward).parameters
    return Call(chosen, tuple(returns.split()), {"use_cache": False} if has_cache else {})


def entry(
    name: str, build: Callable[[], nn.Module], inputs: tuple[TensorSpec, ...], **sizes: Range
) -> Entry:
    """An entry over the usual ranges of the symbols that its inputs use, or over those in `sizes`."""
    ranges = SIZES | sizes
    used = sorted({name for spec in inputs for dim in spec.shape for name in dims.symbols_of(dim)})
    profile = Profile("sweep", tuple((symbol, ranges[symbol]) for symbol in used))
    high = {s.name: WORDS - 1 for s in inputs if s.dtype == "int64" and "mask" not in s.name}
    return Entry(name, build, inputs, (profile,), high)


def ints(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "int64", shape)


def floats(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", shape)
