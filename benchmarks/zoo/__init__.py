"""Architectures of transformers and timm, to trace, build and compare.

MiniLM has its pretrained weights; all others are built from their configurations with seeded random
weights. ZOO has twelve at full size. SMALL has the same twelve cut down: the same blocks, but fewer
and narrower. SWEEP has SMALL and 280 more of that size. The entrypoints are `benchmarks.zoo:build` and
`benchmarks.zoo:goldens`, with `name` and `small`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from benchmarks.zoo import audio, seq2seq, text, timm_images, unseen, vision
from benchmarks.zoo.entry import Entry, Inputs, draw, enliven
from benchmarks.zoo.libraries import available
from benchmarks.zoo.twelve import PRETRAINED, SMALL, ZOO

__all__ = ["PRETRAINED", "SMALL", "SWEEP", "ZOO", "available", "build", "entry", "goldens"]

SWEEP: tuple[Entry, ...] = (
    # Cut down, MiniLM and BERT are the same.
    *(one for one in SMALL if one.name != "minilm"),
    *text.ENTRIES,
    *seq2seq.ENTRIES,
    *vision.ENTRIES,
    *audio.ENTRIES,
    *timm_images.ENTRIES,
    *unseen.ENTRIES,
)


def entry(name: str, small: bool = False) -> Entry:
    """The entry of this name. KeyError lists the known names."""
    candidates = (*SMALL, *SWEEP) if small else ZOO
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    raise KeyError(f"no {name!r} in the zoo; it has {', '.join(e.name for e in candidates)}")


def build(name: str, small: bool = False) -> nn.Module:
    """Entrypoint: the model of this name, in eval mode, with the same weights every time."""
    chosen = entry(name, small)
    torch.manual_seed(0)
    model = chosen.build()
    return model.eval() if name in PRETRAINED and not small else enliven(chosen, model)


def goldens(name: str, small: bool = False) -> list[tuple[str, Inputs]]:
    """Entrypoint for goldens: seeded inputs at the profile's min, opt and max. Text is padded."""
    chosen = entry(name, small)
    generator = torch.Generator().manual_seed(1)
    (profile,) = chosen.profiles

    def at(sizes: Mapping[str, int]) -> Inputs:
        return {s.name: draw(s, sizes, chosen.high, generator) for s in chosen.inputs}

    return [(point, at(profile.at(point))) for point in ("min", "opt", "max")]
