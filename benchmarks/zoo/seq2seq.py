"""Encoder-decoder models: sources [b, s] and targets [b, t], all sizes dynamic."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.rows import IDS, LENGTH, entry, floats, ints, network
from enginebundle.format.spec import Range

TARGETS = ints("decoder_input_ids", "b", "t")
BOTH = (ints("input_ids", *IDS), ints("attention_mask", *IDS), TARGETS)
CROSS = (
    ints("input_ids", "b", "t"),
    floats("encoder_hidden_states", "b", "s", 32),
    ints("encoder_attention_mask", *IDS),
)


def seq2seq(
    name: str, kind: str, returns: str = "logits", *, inputs: Any = BOTH,
    s: Range = LENGTH, **options: Any,
) -> Entry:  # fmt: skip
    options = {"decoder_start_token_id": 0} | options
    return entry(name, partial(network, kind, returns, **options), inputs, s=s)


T5 = {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}

ENTRIES = (
    seq2seq("t5", "T5ForConditionalGeneration", **T5),
    seq2seq("t5-decoder", "T5Model", "last_hidden_state", inputs=CROSS, part="decoder", **T5),
    seq2seq("mt5", "MT5ForConditionalGeneration", **T5),
    seq2seq("umt5", "UMT5ForConditionalGeneration", **T5),
    seq2seq("longt5", "LongT5ForConditionalGeneration", local_radius=4,
            s=Range(8, 8, 8), **T5),
    seq2seq("switch-transformers", "SwitchTransformersForConditionalGeneration", num_experts=4,
            expert_capacity=64, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, **T5),
    seq2seq("bart", "BartForConditionalGeneration"),
    seq2seq("mbart", "MBartForConditionalGeneration"),
    seq2seq("marian", "MarianMTModel"),
    seq2seq("pegasus", "PegasusForConditionalGeneration"),
    seq2seq("m2m100", "M2M100ForConditionalGeneration"),
    seq2seq("blenderbot", "BlenderbotForConditionalGeneration"),
    seq2seq("blenderbot-small", "BlenderbotSmallForConditionalGeneration"),
    seq2seq("plbart", "PLBartForConditionalGeneration"),
    seq2seq("prophetnet", "ProphetNetForConditionalGeneration", num_encoder_layers=2,
            num_decoder_layers=2, num_encoder_attention_heads=4, num_decoder_attention_heads=4),
    seq2seq("led", "LEDForConditionalGeneration", attention_window=[4, 4],
            max_encoder_position_embeddings=64, max_decoder_position_embeddings=64),
)  # fmt: skip
