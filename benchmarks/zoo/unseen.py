"""Forty architectures that were listed before the compiler had seen any of them; the rest of the zoo grew with it.

No size is fixed to suit the compiler: the batch, lengths, numbers of frames and, where the model itself
takes any, heights and widths are dynamic.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.zoo.audio import CONVOLUTIONS, LENGTH, sound
from benchmarks.zoo.entry import Entry
from benchmarks.zoo.rows import IDS, entry, floats, ints, network, tiny
from benchmarks.zoo.seq2seq import seq2seq
from benchmarks.zoo.text import BOTH, LOGITS, STATES, text
from benchmarks.zoo.timm_images import SHALLOW, build, classifier
from benchmarks.zoo.vision import PIXELS, image
from enginebundle.format.spec import Range

SIDES = ("32*h", "32*w")
ANY_SIZE = (floats("pixel_values", "b", 3, *SIDES),)
FEATURES = ints("attention_mask", "b", "n")
WINDOWS = Range(64, 96, 120)
BOXES = "logits pred_boxes"


def _video(name: str, kind: str, **options: Any) -> Entry:
    frames = (floats("pixel_values", "b", 4, 3, 32, 32),)
    return entry(
        name, partial(network, kind, STATES, image_size=32, num_frames=4, **options), frames
    )


def _convolutional(kind: str, **options: Any) -> Entry:
    """One of timm's that takes images of any size."""
    return entry(
        f"timm-{kind}", partial(build, kind, **options), (floats("image", "b", 3, *SIDES),)
    )


def _detr(name: str, kind: str, backbone: str, **options: Any) -> Entry:
    """A detector of RT-DETR's kind, with three levels of features."""
    cut: dict[str, Any] = {
        "encoder_in_channels": [16, 24, 32], "encoder_hidden_dim": 32, "d_model": 32,
        "decoder_in_channels": [32, 32, 32], "num_queries": 7, "num_denoising": 0, "decoder_layers": 2,
    }  # fmt: skip
    return image(name, kind, BOXES, inputs=ANY_SIZE, backbone_config=backbone, **cut | options)


def _codec(name: str, kind: str, n: Range = LENGTH, **options: Any) -> Entry:
    """Waves in and out. As initialized, every code book is empty, or every sound is the same code."""

    def build() -> nn.Module:
        model = network(kind, "audio_values", **options)
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point() and tensor.ndim > 1:
                    tensor.normal_(0, tensor[0].numel() ** -0.5)
        return model

    return entry(name, build, (floats("input_values", "b", 1, "n"),), n=n)


def _rt_detr_resnet() -> Any:
    return tiny("RTDetrResNetConfig", embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
                layer_type="basic", out_features=["stage2", "stage3", "stage4"])  # fmt: skip


def _hgnet() -> Any:
    return tiny("HGNetV2Config", stem_channels=[3, 8, 8], stage_in_channels=[8, 8, 16, 24],
                stage_mid_channels=[8, 8, 8, 8], stage_out_channels=[8, 16, 24, 32],
                hidden_sizes=[8, 16, 24, 32], stage_num_blocks=[1, 1, 1, 1], depths=[1, 1, 1, 1],
                stage_numb_of_layers=[2, 2, 2, 2], embedding_size=8,
                out_features=["stage2", "stage3", "stage4"])  # fmt: skip


def _resnet() -> Any:
    return tiny("ResNetConfig", embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1],
                out_features=["stage4"], layer_type="basic")  # fmt: skip


def _beit() -> Any:
    return tiny("BeitConfig", num_hidden_layers=4, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
                use_relative_position_bias=True)  # fmt: skip


ENTRIES = (
    # Text
    text("cohere2", "Cohere2ForCausalLM", LOGITS, sliding_window=4),
    text("olmoe", "OlmoeForCausalLM", LOGITS, num_experts=4, num_experts_per_tok=2),
    text("deepseek-v3", "DeepseekV3ForCausalLM", LOGITS, moe_intermediate_size=16, n_routed_experts=8,
         kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, v_head_dim=8, qk_nope_head_dim=8, n_group=2,
         topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1, num_key_value_heads=4),
    text("diffllama", "DiffLlamaForCausalLM", LOGITS),
    text("mpt", "MptForCausalLM", LOGITS, d_model=32, n_heads=4, n_layers=2, max_seq_len=64),
    text("lfm2", "Lfm2ForCausalLM", LOGITS, layer_types=["conv", "full_attention"], block_multiple_of=16),
    text("mamba2", "Mamba2ForCausalLM", LOGITS, num_heads=8, head_dim=8, n_groups=2, state_size=8,
         chunk_size=4),
    text("recurrent-gemma", "RecurrentGemmaForCausalLM", LOGITS, lru_width=32, attention_window_size=4,
         num_hidden_layers=3),
    text("luke", "LukeModel", max_position_embeddings=66, pad_token_id=1, entity_vocab_size=50,
         entity_emb_size=16),
    text("lilt", "LiltModel", hidden_size=48, inputs=(*BOTH, ints("bbox", "b", "s", 4)), max_2d_position_embeddings=256,
         max_position_embeddings=66, pad_token_id=1),
    # From one sequence to another
    seq2seq("fsmt", "FSMTForConditionalGeneration", src_vocab_size=200, tgt_vocab_size=200, d_model=32,
            pad_token_id=1),
    seq2seq("nllb-moe", "NllbMoeForConditionalGeneration", num_experts=4, encoder_sparse_step=2,
            decoder_sparse_step=2),
    seq2seq("pegasus-x", "PegasusXForConditionalGeneration", num_global_tokens=4, block_size=4),
    seq2seq("t5gemma", "T5GemmaForConditionalGeneration",
            encoder=partial(tiny, "T5GemmaModuleConfig", query_pre_attn_scalar=8, sliding_window=4),
            decoder=partial(tiny, "T5GemmaModuleConfig", query_pre_attn_scalar=8, sliding_window=4)),
    # Boxes, depth, segments, video, words in images
    _detr("rt-detr-v2", "RTDetrV2ForObjectDetection", _rt_detr_resnet),
    _detr("d-fine", "DFineForObjectDetection", _hgnet, lqe_hidden_dim=8),
    image("table-transformer", "TableTransformerForObjectDetection", BOXES, num_queries=7,
          backbone_config=_resnet, inputs=ANY_SIZE),
    image("owlv2", "Owlv2ForObjectDetection", BOXES, projection_dim=32, inputs=(
          ints("input_ids", "b", "s"), ints("attention_mask", *IDS), *PIXELS),
          text_config=partial(tiny, "Owlv2TextConfig"), vision_config=partial(tiny, "Owlv2VisionConfig")),
    image("clipseg", "CLIPSegForImageSegmentation", projection_dim=16, extract_layers=[0, 1], reduce_dim=16,
          decoder_intermediate_size=32, inputs=(ints("input_ids", *IDS), ints("attention_mask", *IDS), *PIXELS),
          text_config=partial(tiny, "CLIPSegTextConfig"),
          vision_config=partial(tiny, "CLIPSegVisionConfig")),
    image("eomt", "EomtForUniversalSegmentation", "masks_queries_logits class_queries_logits", num_queries=5,
          num_blocks=1),
    image("zoedepth", "ZoeDepthForDepthEstimation", "predicted_depth", backbone_config=_beit,
          neck_hidden_sizes=[8, 16, 24, 32], fusion_hidden_size=16, num_relative_features=8,
          bottleneck_features=16, bin_embedding_dim=16, num_attractors=[4, 2, 2, 1],
          bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}]),
    image("mgp-str", "MgpstrModel", STATES, image_size=[32, 64],
          inputs=(floats("pixel_values", "b", 3, 32, 64),)),
    image("textnet", "TextNetModel", STATES, inputs=ANY_SIZE, stem_out_channels=8,
          hidden_sizes=[8, 8, 16, 24, 32],
          conv_layer_kernel_sizes=[[[3, 3]], [[3, 3], [1, 3]], [[3, 1]], [[3, 3]]],
          conv_layer_strides=[[2], [2, 1], [2], [2]]),
    image("layoutlmv3", "LayoutLMv3Model", STATES, input_size=64, coordinate_size=6, shape_size=4,
          max_2d_position_embeddings=256, max_position_embeddings=66, pad_token_id=1,
          inputs=(*BOTH, ints("bbox", "b", "s", 4), *PIXELS)),
    _video("videomae", "VideoMAEModel", patch_size=8),
    _video("timesformer", "TimesformerModel", patch_size=8),
    # Sound
    sound("unispeech-sat", "UniSpeechSatModel", **CONVOLUTIONS),
    sound("wav2vec2-bert", "Wav2Vec2BertModel", n=WINDOWS, feature_projection_input_dim=16,
          conv_depthwise_kernel_size=5, inputs=(floats("input_features", "b", "n", 16), FEATURES)),
    sound("parakeet-ctc", "ParakeetForCTC", LOGITS, n=WINDOWS, encoder_config=partial(
          tiny, "ParakeetEncoderConfig", num_mel_bins=16, subsampling_conv_channels=8),
          inputs=(floats("input_features", "b", "n", 16), FEATURES)),
    sound("clap-audio", "ClapAudioModel", "last_hidden_state pooler_output", n=Range(100, 160, 250),
          spec_size=64, num_mel_bins=16, window_size=4, patch_embeds_hidden_size=16, depths=[1, 1],
          num_attention_heads=[2, 4], num_hidden_layers=2, hidden_size=32,
          inputs=(floats("input_features", "b", 1, "n", 16),)),
    _codec("mimi", "MimiModel", n=Range(2000, 3000, 4000), num_filters=8, codebook_size=32,
          codebook_dim=16, vector_quantization_hidden_dimension=16, num_quantizers=4, upsample_groups=32,
          upsampling_ratios=[4, 4], sliding_window=16, num_key_value_heads=4),
    _codec("dac", "DacModel", encoder_hidden_size=8, downsampling_ratios=[2, 4],
          decoder_hidden_size=32, n_codebooks=3, codebook_size=32, codebook_dim=8),
    # Images, timm
    _convolutional("shvit_s1"),
    _convolutional("convformer_s18"),
    _convolutional("tf_efficientnet_lite0"),
    _convolutional("gernet_s"),
    _convolutional("ghostnetv3_050"),
    classifier("hieradet_small", side=128),
    classifier("vitamin_small_224", side=128, img_size=128),
    classifier("flexivit_small", **SHALLOW),
)  # fmt: skip
"""Named before the first run; what the runs showed changed none of them."""
