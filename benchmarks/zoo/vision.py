"""Vision models of transformers: images [b, 3, 64, 64] in, some with words [b, s] as well."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.rows import IDS, entry, floats, ints, network, tiny

PIXELS = (floats("pixel_values", "b", 3, 64, 64),)
TEXT = (ints("input_ids", *IDS), ints("attention_mask", *IDS))
STATES, LOGITS = "last_hidden_state", "logits"
EMBEDDINGS = "image_embeds text_embeds logits_per_image"


def image(
    name: str, kind: str, returns: str = LOGITS, *, inputs: Any = PIXELS, **options: Any
) -> Entry:
    return entry(name, partial(network, kind, returns, **options), inputs)


def resnet() -> Any:
    return tiny("ResNetConfig", embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1],
                out_features=["stage2"], layer_type="basic")  # fmt: skip


SWIN = {
    "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "num_layers": 2, "window_size": 4,
    "patch_size": 4,
}  # fmt: skip

ENTRIES = (
    image("clip-text", "CLIPTextModelWithProjection", "text_embeds last_hidden_state", inputs=TEXT,
          projection_dim=16),
    image("clip-vision", "CLIPVisionModelWithProjection", "image_embeds last_hidden_state",
          projection_dim=16),
    image("clip", "CLIPModel", EMBEDDINGS, inputs=(*TEXT, *PIXELS), projection_dim=16,
          text_config=partial(tiny, "CLIPTextConfig"), vision_config=partial(tiny, "CLIPVisionConfig")),
    image("siglip", "SiglipModel", EMBEDDINGS, inputs=(*TEXT, *PIXELS),
          text_config=partial(tiny, "SiglipTextConfig"),
          vision_config=partial(tiny, "SiglipVisionConfig")),
    image("chinese-clip", "ChineseCLIPModel", EMBEDDINGS, inputs=(*TEXT, *PIXELS), projection_dim=16,
          text_config=partial(tiny, "ChineseCLIPTextConfig"),
          vision_config=partial(tiny, "ChineseCLIPVisionConfig")),
    image("blip", "BlipModel", EMBEDDINGS, inputs=(*TEXT, *PIXELS), projection_dim=16,
          text_config=partial(tiny, "BlipTextConfig", encoder_hidden_size=32),
          vision_config=partial(tiny, "BlipVisionConfig")),
    image("vilt", "ViltModel", STATES, inputs=(*TEXT, *PIXELS, ints("pixel_mask", "b", 64, 64))),
    image("visual-bert", "VisualBertModel", STATES, visual_embedding_dim=16,
          inputs=(*TEXT, floats("visual_embeds", "b", 5, 16))),
    image("layoutlm", "LayoutLMModel", STATES, inputs=TEXT, max_2d_position_embeddings=16),
    image("trocr-decoder", "TrOCRForCausalLM", LOGITS, inputs=(
          ints("input_ids", "b", "t"), floats("encoder_hidden_states", "b", "s", 32)),
          cross_attention_hidden_size=32),
    image("beit", "BeitForImageClassification", use_relative_position_bias=True),
    image("deit", "DeiTForImageClassification"),
    image("dinov2", "Dinov2ForImageClassification"),
    image("dinov2-registers", "Dinov2WithRegistersModel", STATES),
    image("dinov3", "DINOv3ViTModel", STATES),
    image("ijepa", "IJepaModel", STATES),
    image("hiera", "HieraForImageClassification", embed_dim=16, depths=[1, 1, 1, 1],
          num_heads=[1, 2, 2, 4], image_size=[64, 64], patch_size=[7, 7], num_layers=4,
          masked_unit_size=[8, 8]),
    image("swin", "SwinForImageClassification", **SWIN),
    image("swinv2", "Swinv2ForImageClassification", **SWIN),
    image("swin2sr", "Swin2SRForImageSuperResolution", "reconstruction", embed_dim=16,
          depths=[1, 1], num_heads=[2, 2], num_layers=2, window_size=8, patch_size=1),
    image("donut-swin", "DonutSwinModel", STATES, **SWIN),
    image("convnext", "ConvNextForImageClassification", hidden_sizes=[8, 16, 24, 32],
          depths=[1, 1, 1, 1], num_stages=4, patch_size=4),
    image("convnextv2", "ConvNextV2ForImageClassification", hidden_sizes=[8, 16, 24, 32],
          depths=[1, 1, 1, 1], num_stages=4, patch_size=4),
    image("resnet", "ResNetForImageClassification", embedding_size=16, depths=[1, 1, 1, 1],
          hidden_sizes=[16, 32, 48, 64]),
    image("regnet", "RegNetForImageClassification", embedding_size=16, depths=[1, 1, 1, 1],
          hidden_sizes=[16, 32, 48, 64], groups_width=16),
    image("mobilenet-v1", "MobileNetV1ForImageClassification", depth_multiplier=0.25),
    image("mobilenet-v2-hf", "MobileNetV2ForImageClassification", depth_multiplier=0.25),
    image("efficientnet-hf", "EfficientNetForImageClassification", width_coefficient=0.25,
          depth_coefficient=0.5, hidden_dim=320),
    image("mobilevit", "MobileViTForImageClassification", hidden_sizes=[16, 24, 32],
          neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], patch_size=2),
    image("mobilevitv2", "MobileViTV2ForImageClassification", width_multiplier=0.25, patch_size=2),
    image("levit", "LevitForImageClassification", hidden_sizes=[16, 24, 32], depths=[1, 1, 1],
          num_attention_heads=[2, 3, 4], key_dim=[8, 8, 8]),
    image("poolformer", "PoolFormerForImageClassification", hidden_sizes=[8, 16, 24, 32],
          depths=[1, 1, 1, 1], patch_size=7),
    image("pvt", "PvtForImageClassification", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
          num_attention_heads=[1, 2, 3, 4]),
    image("cvt", "CvtForImageClassification", embed_dim=[8, 16, 24], depth=[1, 2, 3],
          num_heads=[1, 2, 3]),
    image("focalnet", "FocalNetForImageClassification", embed_dim=16, depths=[1, 1],
          focal_levels=[2, 2], focal_windows=[3, 3], patch_size=4),
    image("swiftformer", "SwiftFormerForImageClassification", embed_dims=[8, 16, 24, 32],
          depths=[1, 1, 1, 1]),
    image("bit", "BitForImageClassification", embedding_size=16, depths=[1, 1, 1, 1],
          hidden_sizes=[32, 64, 96, 128], num_groups=8),
    image("perceiver", "PerceiverForImageClassificationLearned", inputs=(
          floats("inputs", "b", 3, 64, 64),), num_latents=8, d_latents=32, d_model=32,
          num_self_attends_per_block=2, num_self_attention_heads=4, num_cross_attention_heads=4),
    image("segformer", "SegformerForSemanticSegmentation", depths=[1, 1, 1, 1],
          hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=32),
    image("dpt", "DPTForDepthEstimation", "predicted_depth", num_hidden_layers=4,
          backbone_out_indices=[0, 1, 2, 3],
          neck_hidden_sizes=[8, 16, 24, 32], fusion_hidden_size=16),
    image("glpn", "GLPNForDepthEstimation", "predicted_depth", depths=[1, 1, 1, 1],
          hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16),
    image("upernet", "UperNetForSemanticSegmentation", pool_scales=[1, 2], hidden_size=16,
          auxiliary_channels=16, auxiliary_in_channels=24, use_auxiliary_head=False,
          backbone_config=partial(tiny, "ConvNextConfig", hidden_sizes=[8, 16, 24, 32], patch_size=4,
          num_stages=4, depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"])),
    image("detr", "DetrForObjectDetection", "logits pred_boxes", num_queries=7,
          backbone_config=resnet, inputs=(*PIXELS, ints("pixel_mask", "b", 64, 64))),
    image("conditional-detr", "ConditionalDetrForObjectDetection", "logits pred_boxes",
          num_queries=7, backbone_config=resnet),
    image("deformable-detr", "DeformableDetrForObjectDetection", "logits pred_boxes", num_queries=7,
          num_feature_levels=1, backbone_config=resnet),
    image("yolos", "YolosForObjectDetection", "logits pred_boxes", image_size=[64, 64],
          num_detection_tokens=7),
    image("owlvit-vision", "OwlViTVisionModel", STATES),
    image("sam-vision", "SamVisionModel", STATES, output_channels=16, window_size=2,
          global_attn_indexes=[1], num_pos_feats=8, mlp_dim=64),
    image("vitpose", "VitPoseForPoseEstimation", "heatmaps", backbone_config=partial(
          tiny, "VitPoseBackboneConfig", image_size=[64, 64], patch_size=[16, 16],
          out_features=["stage2"])),
    image("maskformer-swin", "MaskFormerSwinModel", STATES, **SWIN),
)  # fmt: skip
