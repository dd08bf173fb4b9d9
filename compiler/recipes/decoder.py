"""A causal language model from transformers with its KV cache as explicit inputs and outputs.

    def llama():                                     # a manifest's entrypoint
        return CachedDecoder(LlamaForCausalLM.from_pretrained("path/to/checkpoint"))

    input_ids, positions [b, s]; logits_at [b]; past_key_0, past_value_0, ... [b, heads, n, depth]
        -> logits [b, vocabulary]; key_0, value_0, ... [b, heads, n, depth]

The cache has n slots per row. The token at position p is written to slot p, and a query at position p
sees slots 0 to p. Nothing else decides what it sees, so rows of one batch may differ in length,
prompts are padded on the right (what the padding wrote is overwritten before any query can see it),
a long prompt may come in pieces, and a row may be given to another request without clearing it.
Prefill (s tokens) and decode (s = 1) are two profiles of one program.

`enginebundle.serve.decoding` is the loop that calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class CachedDecoder(nn.Module):
    """Wraps a `...ForCausalLM` model. It keeps no state between calls.

    `cache` holds (heads, depth) of each layer's keys and of its values. ValueError for a model whose
    logits this would change: one whose head does more than multiply, whose attention takes no
    boolean mask, or whose layers do not all keep keys and values.
    """

    cache: tuple[tuple[tuple[int, int], tuple[int, int]], ...]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model.eval()
        self.cache = _shapes(self.model)
        self._check()

    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        logits_at: torch.Tensor,
        **past: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """`positions` are below n and distinct within a row.

        The logits are those that follow one token per row: the one at index `logits_at` of its s.
        """
        self._refuse_other(past)
        layers = range(len(self.cache))
        slots = _Slots(
            positions,
            [past[f"past_key_{i}"] for i in layers],
            [past[f"past_value_{i}"] for i in layers],
        )
        window = getattr(self.model.config, "sliding_window", None)
        if window is not None and slots.count > window:
            raise ValueError(
                f"attention slides over {window} tokens, so expected a cache of at most that many "
                f"slots, got {slots.count}"
            )
        seen = torch.arange(slots.count, device=positions.device) <= positions[:, None, :, None]
        hidden = self.model.base_model(
            input_ids=input_ids,
            attention_mask=seen,
            position_ids=positions,
            past_key_values=slots,
            use_cache=True,
        ).last_hidden_state
        index = logits_at[:, None, None].expand(-1, 1, hidden.shape[2])
        result = {"logits": self.model.get_output_embeddings()(hidden.gather(1, index).squeeze(1))}
        for i in layers:
            result |= {f"key_{i}": slots.keys[i], f"value_{i}": slots.values[i]}
        return result

    def _refuse_other(self, past: Mapping[str, torch.Tensor]) -> None:
        """ValueError unless `past` is the caches; it lists them in the form that a manifest's inputs need."""
        wanted = {name: (t.shape[1], t.shape[3]) for name, t in self.empty(0, 1).items()}
        given = {n: (t.shape[1], t.shape[3]) if t.dim() == 4 else None for n, t in past.items()}
        if given != wanted:
            shapes = ", ".join(f"{name} [b, {h}, slots, {d}]" for name, (h, d) in wanted.items())
            got = ", ".join(f"{name} {list(t.shape)}" for name, t in past.items()) or "none"
            raise ValueError(f"expected the caches {shapes}; got {got}")

    def empty(self, rows: int, slots: int) -> dict[str, torch.Tensor]:
        """The caches before the first token: zeros, in the model's own dtype and on its device."""
        return {
            f"past_{name}_{i}": torch.zeros(
                (rows, heads, slots, depth), dtype=self.model.dtype, device=self.model.device
            )
            for i, layer in enumerate(self.cache)
            for name, (heads, depth) in zip(("key", "value"), layer, strict=True)
        }

    @torch.no_grad()
    def _check(self) -> None:
        """Two tokens, then a third, must give the logits that the model gives for all three."""
        tokens = torch.tensor([[1, 2, 0]], device=self.model.device)
        want = self.model(input_ids=tokens, use_cache=False).logits[0]
        past = self.empty(1, 4)
        for start, stop in ((0, 2), (2, 3)):
            positions = torch.arange(start, stop, device=tokens.device)[None]
            last = torch.tensor([stop - start - 1], device=tokens.device)
            made = self(tokens[:, start:stop], positions, last, **past)
            past = {f"past_{name}": made[name] for name in made if name != "logits"}
            off = float((made["logits"][0] - want[stop - 1]).abs().max())
            rounding = max(1e-3, 20 * torch.finfo(want.dtype).eps)
            if not off <= rounding * float(want[stop - 1].abs().max()):
                raise ValueError(
                    f"{type(self.model).__name__} with an explicit cache differs from itself by {off} "
                    f"at token {stop - 1}: expected a head that only multiplies, and attention that "
                    'takes a boolean mask (attn_implementation="sdpa")'
                )


class _Slots:
    """Stands in for a model's cache: `update` returns the whole buffer with the new tokens in it."""

    def __init__(
        self, positions: torch.Tensor, keys: list[torch.Tensor], values: list[torch.Tensor]
    ) -> None:
        self.count = keys[0].shape[2]
        self.keys, self.values = keys, values
        self._places = positions[:, None, :, None]

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`key` and `value` are those of the new tokens, [b, heads, s, depth]."""
        self.keys[layer] = self._written(self.keys[layer], key)
        self.values[layer] = self._written(self.values[layer], value)
        return self.keys[layer].to(key.dtype), self.values[layer].to(value.dtype)

    def _written(self, buffer: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """The buffer's dtype may differ from the model's: half precision takes half the memory."""
        return buffer.scatter(2, self._places.expand_as(new), new.to(buffer.dtype))

    def get_seq_length(self, *_: Any) -> int:
        """Positions are always given, so that nothing depends on this."""
        return 0


class _Shapes(_Slots):
    """Records the shapes that each layer would keep."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {}

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        k, v = key.shape, value.shape
        self.found[layer] = ((k[1], k[3]), (v[1], v[3]))
        return key, value


@torch.no_grad()
def _shapes(model: Any) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    found, tokens = _Shapes(), torch.zeros(1, 2, dtype=torch.int64, device=model.device)
    seen = torch.ones(1, 1, 2, 2, dtype=torch.bool, device=model.device)
    positions = torch.arange(2, device=model.device)[None]
    name = type(model).__name__
    try:
        model.base_model(
            input_ids=tokens, attention_mask=seen, position_ids=positions, past_key_values=found,
            use_cache=True,
        )  # fmt: skip
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected a model that takes a mask [b, 1, s, n], positions and a cache of keys "
            f"and values, got {type(error).__name__}: {error}"
        ) from error
    layers = model.config.num_hidden_layers
    if sorted(found.found) != list(range(layers)):
        raise ValueError(
            f"{name}: expected each of {layers} layers to keep keys and values, but "
            f"only {sorted(found.found)} do"
        )
    return tuple(found.found[i] for i in range(layers))
