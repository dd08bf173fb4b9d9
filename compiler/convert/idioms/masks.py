"""Attention masks that are known while compiling."""

from __future__ import annotations

import torch

from compiler.convert.net import Net
from compiler.network.kinds.shapes import Reshape, Squeeze, Transpose, Unsqueeze
from compiler.network.kinds.slices import Slice
from compiler.network.network import Tensor

_MOVES = (Reshape, Squeeze, Transpose, Unsqueeze)


def hides_nothing(net: Net, mask: Tensor) -> bool:
    """Whether a bool mask is True, or an added one 0, everywhere and for whatever weights.

    Hugging Face's models make such masks where the caller gives none. An engine that reads one is slower:
    on an H200 each attention of ViT-base reads 5 MB for nothing.
    """
    while (layer := net.producer(mask)) is not None:
        copies = layer.row is Slice and layer.attributes["mode"] != "FILL"
        first = layer.inputs[0]
        if first is None or not (copies or layer.row in _MOVES):
            return False
        mask = first
    value = mask.constant
    if value is None or mask.from_weights or value.numel() == 0:
        return False
    return bool(value.all() if value.dtype == torch.bool else not value.any())
