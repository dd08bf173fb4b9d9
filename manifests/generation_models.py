"""Decoders of generation.yaml: causal language models whose KV cache goes in and comes out.

Weights are random (seeded), since nothing is downloaded. For a checkpoint of yours, replace the
constructor by `from_pretrained("path/to/checkpoint", local_files_only=True)`, and in the manifest
the heads and depth of the caches, which `CachedDecoder(model).cache` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from compiler.recipes.decoder import CachedDecoder

VOCABULARY = 512
SLOTS = 128
"""Tokens that a row of the cache holds."""

PROMPTS = tuple(
    torch.randint(
        0, VOCABULARY, (length,), generator=torch.Generator().manual_seed(length)
    ).tolist()
    for length in (3, 19, 70)
)
"""Of different lengths, one longer than the prefill profile."""

_SPREAD = 0.1
"""Deviation of the random weights: with the usual 0.02 a model says the same word for ever."""


def gpt2() -> CachedDecoder:
    """A decoder with learned positions."""
    return _cached(gpt2_model())


def llama() -> CachedDecoder:
    """A decoder with rotary positions, whose cache keeps fewer heads than ask it."""
    return _cached(llama_model())


def gpt2_model(seed: int = 634) -> Any:
    """transformers' own model: what `gpt2` wraps."""
    package = _transformers(seed)
    config = package.GPT2Config(
        vocab_size=VOCABULARY,
        n_layer=3,
        n_embd=128,
        n_head=4,
        n_positions=SLOTS,
        tie_word_embeddings=False,
        initializer_range=_SPREAD,
        bos_token_id=None,
        eos_token_id=None,
    )
    return package.GPT2LMHeadModel(config).eval()


def llama_model(seed: int = 405) -> Any:
    """transformers' own model: what `llama` wraps."""
    package = _transformers(seed)
    config = package.LlamaConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=3,
        hidden_size=128,
        intermediate_size=384,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=SLOTS,
        initializer_range=_SPREAD,
        bos_token_id=None,
        eos_token_id=None,
    )
    return package.LlamaForCausalLM(config).eval()


MODELS = {"gpt2": gpt2_model, "llama": llama_model}


def goldens(model: str) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Calls from the middle of a generation, at the corners of both profiles.

    All but the first go on from caches that a text of SLOTS tokens has filled; where in it each row
    goes on is its first position.
    """
    decoder = _cached(MODELS[model]())
    generator = torch.Generator().manual_seed(1)

    def call(
        first: list[int], length: int, past: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        rows = len(first)
        return {
            "input_ids": torch.randint(0, VOCABULARY, (rows, length), generator=generator),
            "positions": torch.tensor(first)[:, None] + torch.arange(length),
            # Of two rows, one that was padded.
            "logits_at": (length - 1 - 5 * torch.arange(rows)).clamp(min=0),
            **{name: tensor[:rows] for name, tensor in past.items()},
        }

    empty = decoder.empty(4, SLOTS)
    with torch.no_grad():
        filled = decoder(**call([0] * 4, SLOTS, empty))
    past = {name: filled[name.removeprefix("past_")] for name in empty}
    return [
        ("prefill-first", call([0], 64, empty)),
        ("prefill-min", call([30], 2, past)),
        ("prefill-max", call([64, 40, 7, 0], 64, past)),
        ("decode-min", call([100], 1, past)),
        ("decode-max", call([127, 90, 33, 5], 1, past)),
    ]


def _cached(model: Any) -> CachedDecoder:
    from compiler.recipes.decoder import CachedDecoder

    return CachedDecoder(model)


def _transformers(seed: int) -> Any:
    from torchvision_on_cpu import prepare

    prepare()  # transformers imports torchvision where it is installed
    import transformers

    torch.manual_seed(seed)
    return transformers
