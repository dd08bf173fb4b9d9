"""An entry of the zoo, and its seeded inputs and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from enginebundle.format.spec import Profile, TensorSpec

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Entry:
    """One model of the zoo: its architecture, its inputs and their sizes.

    `build` makes the model as the library initializes it; compare with `zoo.build(name)` instead.
    `high` is the largest value of each integer input.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    high: Mapping[str, int]

    @property
    def fixed(self) -> list[str]:
        """Sizes that would be dynamic if the model did not need them to be one number."""
        return [symbol for symbol, r in self.profiles[0].ranges if r.min == r.max]


def enliven(entry: Entry, model: nn.Module) -> nn.Module:
    """Make a fresh model's output depend on all of its weights and on its input.

    As initialized, the residual branches of resnet50 and convnext end in a factor of 0 or 1e-6, biases
    are 0, those of heads too, and in a deep network whose batch norms do not normalize, the image fades
    to nothing. Every image gave the same output, so a wrong converter would still compare equal. So
    norms, scales and biases are drawn at random, and batch norms measure a batch of images. They alone
    are in train mode for that: what else trains draws at random, wav2vec2's masks from numpy's own seed.
    """
    generator = torch.Generator().manual_seed(7)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            leaf = name.rpartition(".")[2]
            if tensor.ndim == 1 and (leaf == "weight" or leaf.startswith("gamma")):
                uniform(tensor, 0.5, 1.0)
            elif leaf == "bias" if tensor.ndim == 1 else not bool((tensor.abs() > 0.01).any()):
                uniform(tensor, -0.1, 0.1)
        if norms:
            model.eval()
            for norm in norms:
                norm.train().momentum = 1.0
            sizes = entry.profiles[0].at("opt") | {"b": 8}
            model(**{s.name: draw(s, sizes, entry.high, generator) for s in entry.inputs})
    return model.eval()


def draw(
    spec: TensorSpec, sizes: Mapping[str, int], high: Mapping[str, int], generator: torch.Generator
) -> torch.Tensor:
    """A seeded value of one input: padding masks, words, boxes, images, noise."""
    shape = spec.sizes(sizes)
    if spec.name.endswith("_mask"):  # rows keep n, n-1 ... columns, at least half of them
        columns = torch.arange(shape[-1])
        keep = [max(shape[-1] - row, (shape[-1] + 1) // 2) for row in range(shape[0])]
        rows = torch.stack([(columns < count).long() for count in keep])
        return rows.reshape(shape[0], *[1] * (len(shape) - 2), -1).expand(shape).contiguous()
    if spec.name in high:
        # Padding is token 1 for RoBERTa and 0 for T5: words start above them.
        words = torch.randint(2, high[spec.name] + 1, shape, generator=generator)
        return words.sort(-1).values if spec.name == "bbox" else words  # left, top, right, bottom
    noise = torch.randn(shape, generator=generator)
    if len(shape) != 4:
        return noise
    # Images: large patches of colour under fine noise, so that something survives global pooling.
    coarse = torch.randn((*shape[:2], 4, 4), generator=generator)
    return nn.functional.interpolate(coarse, size=shape[2:], mode="bilinear") + 0.3 * noise
