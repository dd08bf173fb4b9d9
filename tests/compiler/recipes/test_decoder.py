"""What a decoder with an explicit cache refuses, and what it takes from the loop around it."""

from __future__ import annotations

import pytest
import torch
import transformers

from compiler.recipes.decoder import CachedDecoder
from enginebundle.errors import InputError
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.serve.decoding import empty_cache, greedy

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 32, "initializer_range": 0.2, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
IDS = TensorSpec("input_ids", "int64", ("b", "s"))
PROFILES = (
    Profile("prefill", (("b", Range(1, 1, 2)), ("s", Range(2, 4, 8)))),
    Profile("decode", (("b", Range(1, 1, 2)), ("s", Range(1, 1, 1)))),
)


def llama(**other) -> torch.nn.Module:
    torch.manual_seed(2)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL | other))


class Eager:
    """The module itself, called as a session is."""

    profiles = PROFILES

    def __init__(self, slots: int = 24) -> None:
        self.model = CachedDecoder(llama())
        past = self.model.empty(1, slots)
        self.inputs = (IDS, *(TensorSpec(n, "float32", ("b", *past[n].shape[1:])) for n in past))

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        assert inputs["input_ids"].shape[1] <= 8
        with torch.no_grad():
            return self.model(**inputs)


def test_the_cache_is_described_by_layer() -> None:
    assert CachedDecoder(llama()).cache == (((2, 8), (2, 8)),) * 2


def test_a_row_says_in_a_batch_what_it_says_alone() -> None:
    decoder, prompts = Eager(), [[7], list(range(9, 26)), [3, 1, 4, 1, 5, 9, 2, 6]]
    together = greedy(decoder, prompts, 6)
    assert together.shape == (3, 6)
    for prompt, row in zip(prompts, together, strict=True):
        assert greedy(decoder, [prompt], 6).tolist() == [row.tolist()]


def test_a_used_cache_serves_the_next_prompt_without_being_cleared() -> None:
    decoder = Eager()
    call = {
        "input_ids": torch.tensor([[5, 6, 7]]),
        "positions": torch.arange(3)[None],
        "logits_at": torch.tensor([2]),
    }
    clean = empty_cache(decoder, 1)
    dirty = {name: torch.full_like(tensor, 3.0) for name, tensor in clean.items()}
    want, got = decoder(**call, **clean)["logits"], decoder(**call, **dirty)["logits"]
    torch.testing.assert_close(got, want)


def test_the_last_token_needs_no_slot_and_one_more_is_refused() -> None:
    decoder = Eager(slots=12)
    assert greedy(decoder, [[1] * 8, [2]], 5).shape == (2, 5)
    with pytest.raises(InputError, match=r"room for 6 more in 12 slots, got lengths \[8, 1\]"):
        greedy(decoder, [[1] * 8, [2]], 6)


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_a_prompt_has_a_token(prompts) -> None:
    with pytest.raises(InputError, match="at least 1 token"):
        greedy(Eager(), prompts, 2)


def test_attention_that_adds_its_mask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"differs from itself .* boolean mask"):
        CachedDecoder(llama(attn_implementation="eager"))


def test_a_head_that_does_more_than_multiply_is_refused() -> None:
    config = transformers.Gemma2Config(
        **SMALL, final_logit_softcapping=0.5, attn_logit_softcapping=None
    )
    with pytest.raises(ValueError, match="a head that only multiplies"):
        CachedDecoder(transformers.Gemma2ForCausalLM(config))


def test_layers_without_keys_are_refused() -> None:
    config = transformers.MambaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4
    )
    with pytest.raises(
        ValueError, match=r"expected a model that takes .* a cache of keys and values"
    ):
        CachedDecoder(transformers.MambaForCausalLM(config))


def test_more_slots_than_the_attention_slides_over_are_refused() -> None:
    config = transformers.MistralConfig(**SMALL, sliding_window=8)
    decoder = CachedDecoder(transformers.MistralForCausalLM(config))
    call = (torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([0]))
    assert decoder(*call, **decoder.empty(1, 8))["logits"].shape == (1, 64)
    with pytest.raises(ValueError, match="slides over 8 tokens"):
        decoder(*call, **decoder.empty(1, 9))


def test_caches_of_another_shape_or_number_are_refused_with_what_to_declare() -> None:
    decoder = CachedDecoder(llama())
    call = (torch.tensor([[1]]), torch.tensor([[0]]), torch.tensor([0]))
    few = {n: t for n, t in decoder.empty(1, 8).items() if not n.endswith("_1")}
    wide = CachedDecoder(llama(head_dim=16)).empty(1, 8)
    for past in ({}, few, few | {"past_key_9": few["past_key_0"]}, wide):
        with pytest.raises(ValueError, match=r"past_value_1 \[b, 2, slots, 8\]; got "):
            decoder(*call, **past)
