"""Models of transformers.yaml: architectures of transformers, built from a configuration.

Weights are random (seeded), since nothing is downloaded. For a checkpoint of yours, replace the
constructor by `from_pretrained("path/to/checkpoint", local_files_only=True)`.
"""

from __future__ import annotations

from typing import Any

import torch

VOCABULARY = 8000
"""Smaller than any checkpoint's: gpt2 returns a number for each word at each position."""


class Text(torch.nn.Module):
    """Token ids and mask [b, s] in; one field of the network's result out, under its own name."""

    def __init__(self, network: torch.nn.Module, field: str, **options: Any) -> None:
        super().__init__()
        self.network = network
        self.field = field
        self.options = options

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        result = self.network(input_ids=input_ids, attention_mask=attention_mask, **self.options)
        return {self.field: getattr(result, self.field)}


def bert(layers: int = 4, hidden: int = 256) -> torch.nn.Module:
    """An encoder: every token's last hidden state."""
    package = _transformers()
    config = package.BertConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_attention_heads=hidden // 64,
    )
    return Text(package.BertModel(config, add_pooling_layer=False), "last_hidden_state")


def gpt2(layers: int = 4, hidden: int = 256) -> torch.nn.Module:
    """A causal language model without a cache: logits of the next token at every position."""
    package = _transformers()
    config = package.GPT2Config(
        vocab_size=VOCABULARY,
        n_layer=layers,
        n_embd=hidden,
        n_head=hidden // 64,
        bos_token_id=None,
        eos_token_id=None,
    )
    return Text(package.GPT2LMHeadModel(config), "logits", use_cache=False)


def t5_encoder(layers: int = 4, hidden: int = 256) -> torch.nn.Module:
    """T5's encoder, whose attention adds a learned bias for each distance."""
    package = _transformers()
    config = package.T5Config(
        vocab_size=VOCABULARY,
        num_layers=layers,
        d_model=hidden,
        d_ff=4 * hidden,
        d_kv=64,
        num_heads=hidden // 64,
    )
    return Text(package.T5EncoderModel(config), "last_hidden_state")


def goldens() -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Random words at the profile's min, opt and max; each row one token shorter than the last.

    A random mask would not do: a causal model gives nothing to compare at a position that may
    attend to no token at all.
    """
    generator = torch.Generator().manual_seed(1)
    cases = []
    for name, (rows, length) in {"min": (1, 8), "opt": (4, 64), "max": (8, 128)}.items():
        kept = length - torch.arange(rows)
        words = torch.randint(2, VOCABULARY, (rows, length), generator=generator)
        mask = (torch.arange(length) < kept[:, None]).long()
        cases.append((name, {"input_ids": words, "attention_mask": mask}))
    return cases


def _transformers() -> Any:
    from torchvision_on_cpu import prepare

    prepare()  # transformers imports torchvision where it is installed
    import transformers

    torch.manual_seed(0)
    return transformers
