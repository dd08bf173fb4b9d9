"""Image classifiers of timm, the smallest of each family: [b, 3, 64, 64] in, unless a row differs."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.libraries import timm
from benchmarks.zoo.rows import entry, floats
from benchmarks.zoo.twelve import Image


def build(kind: str, **options: Any) -> nn.Module:
    return Image(timm().create_model(kind, num_classes=10, **options))


def classifier(kind: str, side: int = 64, **options: Any) -> Entry:
    inputs = (floats("image", "b", 3, side, side),)
    return entry(f"timm-{kind}", partial(build, kind, **options), inputs)


SIZED = {"img_size": 64}
SHALLOW = {"depth": 2, **SIZED}

ENTRIES = (
    classifier("resnet18"),
    classifier("resnext26ts"),
    classifier("resnetv2_18"),
    classifier("resnest14d"),
    classifier("res2net50_14w_8s", layers=(1, 1, 1, 1)),
    classifier("skresnet18"),
    classifier("ecaresnet26t"),
    classifier("seresnet18"),
    classifier("wide_resnet50_2", layers=(1, 1, 1, 1)),
    classifier("densenet121", block_config=(2, 2, 2, 2)),
    classifier("dla34"),
    classifier("dpn48b"),
    classifier("vgg11_bn"),
    classifier("inception_v3", side=128, aux_logits=False),
    classifier("inception_resnet_v2", side=192),
    classifier("inception_next_atto"),
    classifier("xception41"),
    classifier("tf_efficientnetv2_b0", side=128),
    classifier("tf_efficientnet_b0"),
    classifier("mobilenetv2_050"),
    classifier("mobilenetv4_conv_small"),
    classifier("mnasnet_small"),
    classifier("mixnet_s"),
    classifier("hardcorenas_a"),
    classifier("lcnet_050"),
    classifier("ghostnet_050"),
    classifier("ghostnetv2_100"),
    classifier("rexnet_100"),
    classifier("regnetx_002"),
    classifier("regnety_002"),
    classifier("nfnet_f0", depths=(1, 1, 1, 1)),
    classifier("repvgg_a0"),
    classifier("repvit_m0_9"),
    classifier("mobileone_s0"),
    classifier("fastvit_t8"),
    classifier("hrnet_w18_small"),
    classifier("hgnetv2_b0"),
    classifier("cspdarknet53"),
    classifier("ese_vovnet19b_dw"),
    classifier("selecsls42b"),
    classifier("tresnet_m"),
    classifier("starnet_s1"),
    classifier("fasternet_t0"),
    classifier("rdnet_tiny"),
    classifier("convmixer_768_32"),
    classifier("mixer_s16_224", **SIZED),
    classifier("gmlp_s16_224", **SIZED),
    classifier("resmlp_12_224", **SIZED),
    classifier("vit_tiny_patch16_224", **SHALLOW),
    classifier("vit_relpos_small_patch16_224", **SHALLOW),
    classifier("deit3_small_patch16_224", **SHALLOW),
    classifier("deit_tiny_distilled_patch16_224", **SHALLOW),
    classifier("beitv2_base_patch16_224", embed_dim=48, num_heads=4, **SHALLOW),
    classifier("eva02_tiny_patch14_224", side=56, img_size=56, depth=2),
    classifier("cait_xxs24_224", **SHALLOW),
    classifier("xcit_nano_12_p16_224", **SHALLOW),
    classifier("convit_tiny", **SHALLOW),
    classifier("crossvit_9_240", side=240, depth=((1, 1, 0),)),
    classifier("pit_ti_224", depth=(1, 1, 1), **SIZED),
    classifier("tnt_s_patch16_224", **SHALLOW),
    classifier("twins_svt_small", depths=(1, 1, 1, 1), **SIZED),
    classifier("pvt_v2_b0"),
    classifier("levit_128s", **SIZED),
    classifier("visformer_tiny", **SIZED),
    classifier("volo_d1_224", **SIZED),
    classifier("coat_lite_tiny", **SIZED),
    classifier("coatnet_pico_rw_224", **SIZED),
    classifier("maxvit_tiny_tf_224", **SIZED),
    classifier("swin_s3_tiny_224", depths=(1, 1, 1, 1), window_size=(2, 2, 2, 2), **SIZED),
    classifier("swinv2_tiny_window8_256", depths=(1, 1), num_heads=(2, 4), embed_dim=16,
               window_size=4, **SIZED),
    classifier("swinv2_cr_tiny_224", depths=(1, 1), num_heads=(2, 4), embed_dim=16, window_size=4,
               **SIZED),
    classifier("gcvit_xxtiny", **SIZED),
    classifier("davit_tiny", depths=(1, 1, 1, 1)),
    classifier("nest_tiny", side=128, img_size=128),
    classifier("focalnet_tiny_srf"),
    classifier("poolformer_s12"),
    classifier("caformer_s18"),
    classifier("mvitv2_tiny", **SIZED),
    classifier("hiera_tiny_224", stages=(1, 1, 1, 1), side=64, **SIZED),
    classifier("edgenext_xx_small"),
    classifier("efficientformer_l1", side=224),
    classifier("efficientformerv2_s0", side=224),
    classifier("efficientvit_b0"),
    classifier("efficientvit_m0", side=224),
    classifier("mobilevitv2_050"),
    classifier("tiny_vit_5m_224", side=224),
    classifier("sequencer2d_s", layers=(1, 1, 1, 1), **SIZED),
    classifier("halonet26t", side=256),
    classifier("botnet26t_256", side=256),
    classifier("lambda_resnet26t", side=128),
    classifier("mambaout_femto", depths=(1, 1, 1, 1)),
    classifier("nextvit_small"),
    classifier("cs3darknet_focus_s"),
    classifier("legacy_seresnet18"),
)  # fmt: skip
