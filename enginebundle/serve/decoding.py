"""Greedy generation with a decoder whose KV cache goes in and comes out of every call.

    llama = enginebundle.load("./store/llama:latest")
    tokens = greedy(llama, [[5, 17, 3], [8, 1, 9, 9, 2]], 32, device="cuda")

The decoder is a bundle made from `compiler.recipes.decoder.CachedDecoder`, which explains positions
and slots. Its profiles decide what one call takes: many tokens of each prompt, then one at a time.
The loop is short: copy it to sample, to stop at a token, or to let requests join and leave between
steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from enginebundle.errors import InputError
from enginebundle.format.spec import Profile, TensorSpec

if TYPE_CHECKING:
    import torch

_PAST = "past_"
"""An input named with this prefix takes the previous call's output of the name after it."""


class Decoder(Protocol):
    """Named tensors in, named tensors out: a `Session`, or anything like it."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def profiles(self) -> tuple[Profile, ...]: ...

    def __call__(self, **inputs: Any) -> Mapping[str, torch.Tensor]: ...


def greedy(
    decoder: Decoder, prompts: Sequence[Sequence[int]], count: int, device: str = "cpu"
) -> torch.Tensor:
    """The `count` most likely tokens after each prompt, int64 [prompts, count] on `device`.

    Prompts may have different lengths. One that is longer than the largest profile goes in piece by
    piece. InputError if the cache has too few slots, there is no prompt, or a prompt is empty.
    """
    import torch

    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    cache = empty_cache(decoder, len(prompts), device)
    slots = min(tensor.shape[2] for tensor in cache.values())
    # The last generated token is never written to the cache.
    if not prompts or not all(prompts) or max(map(len, prompts)) + count - 1 > slots:
        raise InputError(
            f"expected prompts of at least 1 token that leave room for {count} more in {slots} "
            f"slots, got lengths {[len(prompt) for prompt in prompts]}"
        )
    padded = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.int64, device=device)
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt, device=device)

    def step(
        tokens: torch.Tensor, positions: torch.Tensor, at: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        made = decoder(input_ids=tokens, positions=positions, logits_at=at, **cache)
        return made["logits"], {name: made[name.removeprefix(_PAST)] for name in cache}

    last = lengths - 1
    logits: torch.Tensor | None = None
    piece = _most_tokens(decoder)
    for start in range(0, padded.shape[1], piece):
        tokens = padded[:, start : start + piece]
        positions = torch.arange(start, start + tokens.shape[1], device=device)
        found, cache = step(
            tokens, positions.expand_as(tokens), (last - start).clamp(0, tokens.shape[1] - 1)
        )
        logits = found if logits is None else torch.where((last >= start)[:, None], found, logits)
    assert logits is not None
    result = [logits.argmax(-1)]
    for position in range(count - 1):
        places = (lengths + position)[:, None]
        logits, cache = step(result[-1][:, None], places, torch.zeros_like(lengths))
        result.append(logits.argmax(-1))
    return torch.stack(result, 1)


def empty_cache(decoder: Decoder, rows: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Zeros for each input `past_...`; the first dimension is the batch of `rows`."""
    import torch

    return {
        spec.name: torch.zeros(
            (rows, *spec.sizes(decoder.profiles[0].at("max"))[1:]),
            dtype=getattr(torch, spec.dtype),
            device=device,
        )
        for spec in decoder.inputs
        if spec.name.startswith(_PAST)
    }


def _most_tokens(decoder: Decoder) -> int:
    """The most tokens per row that one call takes."""
    (ids,) = [spec for spec in decoder.inputs if spec.name == "input_ids"]
    return max(ids.sizes(profile.at("max"))[1] for profile in decoder.profiles)
