"""The twelve architectures that are measured at full size, and the same cut down.

A model cut down has fewer and narrower blocks; what is in a block is unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.libraries import timm, transformers
from enginebundle.format.spec import Profile, Range, TensorSpec


class Field(nn.Module):
    """A transformers model called by position, and one field of its result: text [b, s] in."""

    def __init__(self, network: nn.Module, field: str, **options: Any) -> None:
        super().__init__()
        self.network = network
        self.field = field
        self.options = options

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        result = self.network(input_ids=input_ids, attention_mask=attention_mask, **self.options)
        return getattr(result, self.field)  # type: ignore[no-any-return]


class Pixels(nn.Module):
    """An image model of transformers: [b, 3, h, w] in, logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=image).logits  # type: ignore[no-any-return]


class Image(nn.Module):
    """An image model that returns logits, with its input named `image`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)  # type: ignore[no-any-return]


# --- text -------------------------------------------------------------------------------------


def _encoder(kind: str, small: bool) -> nn.Module:
    """BertModel, RobertaModel or DistilBertModel at the size in its paper."""
    package = transformers()
    options: dict[str, Any] = {"vocab_size": 50265} if kind == "Roberta" else {}
    if kind == "DistilBert" and small:
        options = {"vocab_size": 200, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
    elif small:
        options = {
            "vocab_size": 200, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4,
        }  # fmt: skip
    if kind == "Roberta":  # positions start after the padding index, hence 514 in roberta-base
        options |= {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    config = getattr(package, f"{kind}Config")(**options)
    pooler = {} if kind == "DistilBert" else {"add_pooling_layer": False}
    return Field(getattr(package, f"{kind}Model")(config, **pooler), "last_hidden_state")


def _gpt2(small: bool) -> nn.Module:
    package = transformers()
    options = {"vocab_size": 200, "n_embd": 32, "n_layer": 2, "n_head": 4} if small else {}
    network = package.GPT2LMHeadModel(package.GPT2Config(**options))
    return Field(network, "logits", use_cache=False)


def _t5(small: bool) -> nn.Module:
    package = transformers()
    options: dict[str, Any] = (
        {"vocab_size": 200, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        if small
        else {}  # the defaults are t5-small
    )
    return Field(package.T5EncoderModel(package.T5Config(**options)), "last_hidden_state")


def _minilm(small: bool) -> nn.Module:
    if small:
        return _encoder("Bert", small=True)
    from quickstart_models import minilm

    return minilm()


# --- images -----------------------------------------------------------------------------------


def _vit(small: bool) -> nn.Module:
    package = transformers()
    options: dict[str, Any] = (
        {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 64,
        }
        if small
        else {}
    )  # fmt: skip
    config = package.ViTConfig(num_labels=10 if small else 1000, **options)
    return Pixels(package.ViTForImageClassification(config))


_TIMM: Mapping[str, tuple[str, dict[str, Any]]] = {
    "resnet50": ("resnet50", {"layers": (1, 1, 1, 1)}),
    "mobilenetv3": ("mobilenetv3_large_100", {}),
    "efficientnet_b0": ("efficientnet_b0", {}),
    "convnext_tiny": ("convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (16, 32, 64, 128)}),
    "swin_tiny": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)},
    ),
}
"""timm's name for each, and what makes it small, besides 10 classes and images of 64 x 64."""


def _timm(name: str, small: bool) -> nn.Module:
    model, cut = _TIMM[name]
    return Image(timm().create_model(model, **(cut | {"num_classes": 10} if small else {})))


# --- the list ---------------------------------------------------------------------------------


def _text(name: str, make: Callable[[bool], nn.Module], vocabulary: int, small: bool) -> Entry:
    inputs = tuple(TensorSpec(n, "int64", ("b", "s")) for n in ("input_ids", "attention_mask"))
    # gpt2 returns a float per token of its vocabulary: 103 MB at batch 4 and sequence 128.
    batch, length = (Range(1, 2, 4), Range(8, 64, 128))
    if small:
        batch, length = Range(1, 2, 3), Range(4, 8, 12)
    high = {"input_ids": 199 if small else vocabulary - 1, "attention_mask": 1}
    profile = Profile("text", (("b", batch), ("s", length)))
    return Entry(name, lambda: make(small), inputs, (profile,), high)


def _image(name: str, make: Callable[[bool], nn.Module], small: bool) -> Entry:
    side = 64 if small else 224
    inputs = (TensorSpec("image", "float32", ("b", 3, side, side)),)
    profile = Profile("batch", (("b", Range(1, 2, 3) if small else Range(1, 4, 8)),))
    return Entry(name, lambda: make(small), inputs, (profile,), {})


def _entries(small: bool) -> tuple[Entry, ...]:
    return (
        _text("minilm", _minilm, 30522, small),
        _text("bert-base", lambda s: _encoder("Bert", s), 30522, small),
        _text("roberta", lambda s: _encoder("Roberta", s), 50265, small),
        _text("distilbert", lambda s: _encoder("DistilBert", s), 30522, small),
        _text("gpt2", _gpt2, 50257, small),
        _text("t5-small-encoder", _t5, 32128, small),
        _image("vit-base", _vit, small),
        *(_image(name, functools.partial(_timm, name), small) for name in _TIMM),
    )


PRETRAINED = ("minilm",)
ZOO: tuple[Entry, ...] = _entries(small=False)
SMALL: tuple[Entry, ...] = _entries(small=True)
