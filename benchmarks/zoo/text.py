"""Text encoders and decoders: words [b, s] and their mask in, both sizes dynamic."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.rows import IDS, LENGTH, entry, ints, network
from enginebundle.format.spec import Range

BOTH = (ints("input_ids", *IDS), ints("attention_mask", *IDS))
WORDS_ONLY = BOTH[:1]
FIXED = Range(8, 8, 8)
"""For models that unroll a loop over the length: only the batch is dynamic."""
STATES, LOGITS = "last_hidden_state", "logits"


def text(
    name: str, kind: str, returns: str = STATES, *, inputs: Any = BOTH, s: Range = LENGTH,
    **options: Any,
) -> Entry:  # fmt: skip
    return entry(name, partial(network, kind, returns, **options), inputs, s=s)


ENTRIES = (
    text("bert-classifier", "BertForSequenceClassification", LOGITS),
    text("bert-mlm", "BertForMaskedLM", LOGITS),
    text("xlm-roberta", "XLMRobertaModel", max_position_embeddings=66, pad_token_id=1),
    text("camembert", "CamembertForMaskedLM", LOGITS, max_position_embeddings=66, pad_token_id=1),
    text("albert", "AlbertModel", "last_hidden_state pooler_output", embedding_size=16),
    text("electra", "ElectraModel", embedding_size=16),
    text("deberta", "DebertaModel", relative_attention=True, pos_att_type=["c2p", "p2c"]),
    text("deberta-v2", "DebertaV2Model", relative_attention=True, pos_att_type=["c2p", "p2c"],
         position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0),
    text("mpnet", "MPNetModel"),
    text("modernbert", "ModernBertModel", global_attn_every_n_layers=2, local_attention=4,
         cls_token_id=2, sep_token_id=3),
    text("eurobert", "EuroBertModel"),
    text("nomic-bert", "NomicBertModel"),
    text("mobilebert", "MobileBertModel", embedding_size=16,
         intra_bottleneck_size=16, hidden_size=32),
    text("squeezebert", "SqueezeBertModel", embedding_size=32),
    text("convbert", "ConvBertModel", embedding_size=32, head_ratio=2, conv_kernel_size=3),
    text("funnel", "FunnelModel", block_sizes=[1, 1], num_decoder_layers=1, d_head=8, d_inner=64,
         s=FIXED),
    text("fnet", "FNetModel", inputs=WORDS_ONLY, tpu_short_seq_length=12),
    text("big-bird", "BigBirdModel", attention_type="original_full"),
    text("roformer", "RoFormerModel", embedding_size=32),
    text("rembert", "RemBertModel", input_embedding_size=16, output_embedding_size=16),
    text("ernie", "ErnieModel"),
    text("esm", "EsmModel", position_embedding_type="rotary", mask_token_id=4, token_dropout=False,
         max_position_embeddings=66, pad_token_id=1),
    text("ibert", "IBertModel", quant_mode=False, max_position_embeddings=66, pad_token_id=1),
    text("xlm", "XLMModel", emb_dim=32, n_heads=4, n_layers=2, pad_index=0),
    text("xlnet", "XLNetModel", d_inner=64, d_head=8),
    text("canine", "CanineModel", s=Range(16, 16, 16), num_hash_buckets=64,
         local_transformer_stride=16, downsampling_rate=4),
    text("nystromformer", "NystromformerModel", num_landmarks=12, segment_means_seq_len=12,
         max_position_embeddings=62),
    text("longformer", "LongformerModel", attention_window=[4, 4]),
    text("gpt-neo", "GPTNeoForCausalLM", LOGITS, num_layers=2, num_heads=4, window_size=4,
         attention_types=[[["global", "local"], 1]]),
    text("gpt-neox", "GPTNeoXForCausalLM", LOGITS),
    text("gptj", "GPTJForCausalLM", LOGITS, rotary_dim=4),
    text("gpt-bigcode", "GPTBigCodeForCausalLM", LOGITS),
    text("codegen", "CodeGenForCausalLM", LOGITS, rotary_dim=4),
    text("openai-gpt", "OpenAIGPTLMHeadModel", LOGITS, n_positions=64),
    text("ctrl", "CTRLLMHeadModel", LOGITS, n_positions=64, dff=64),
    text("opt", "OPTForCausalLM", LOGITS, ffn_dim=64, word_embed_proj_dim=32),
    text("bloom", "BloomForCausalLM", LOGITS),
    text("falcon", "FalconForCausalLM", LOGITS),
    text("biogpt", "BioGptForCausalLM", LOGITS),
    text("xglm", "XGLMForCausalLM", LOGITS, ffn_dim=64),
    text("llama", "LlamaForCausalLM", LOGITS),
    text("mistral", "MistralForCausalLM", LOGITS, sliding_window=4),
    text("qwen2", "Qwen2ForCausalLM", LOGITS),
    text("qwen3", "Qwen3ForCausalLM", LOGITS),
    text("gemma", "GemmaForCausalLM", LOGITS),
    text("gemma2", "Gemma2ForCausalLM", LOGITS, sliding_window=4, query_pre_attn_scalar=8),
    text("gemma3", "Gemma3ForCausalLM", LOGITS, sliding_window=4, query_pre_attn_scalar=8),
    text("phi", "PhiForCausalLM", LOGITS),
    text("phi3", "Phi3ForCausalLM", LOGITS),
    text("stablelm", "StableLmForCausalLM", LOGITS),
    text("olmo", "OlmoForCausalLM", LOGITS),
    text("olmo2", "Olmo2ForCausalLM", LOGITS),
    text("cohere", "CohereForCausalLM", LOGITS),
    text("starcoder2", "Starcoder2ForCausalLM", LOGITS),
    text("smollm3", "SmolLM3ForCausalLM", LOGITS),
    text("granite", "GraniteForCausalLM", LOGITS),
    text("persimmon", "PersimmonForCausalLM", LOGITS),
    text("nemotron", "NemotronForCausalLM", LOGITS),
    text("glm", "GlmForCausalLM", LOGITS),
    text("mixtral", "MixtralForCausalLM", LOGITS, num_local_experts=4),
    text("qwen2-moe", "Qwen2MoeForCausalLM", LOGITS, moe_intermediate_size=16,
         shared_expert_intermediate_size=16, num_experts=4, num_experts_per_tok=2),
    text("qwen3-moe", "Qwen3MoeForCausalLM", LOGITS, moe_intermediate_size=16, num_experts=4,
         num_experts_per_tok=2),
    text("gpt-oss", "GptOssForCausalLM", LOGITS, num_local_experts=4, num_experts_per_tok=2,
         sliding_window=4),
    text("mamba", "MambaForCausalLM", LOGITS, state_size=4, time_step_rank=4, s=FIXED),
    text("rwkv", "RwkvForCausalLM", LOGITS, inputs=WORDS_ONLY, attention_hidden_size=32,
         s=FIXED),
)  # fmt: skip
