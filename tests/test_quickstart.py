"""The quickstart's models say what they should before anything is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import quickstart_models as models
from enginebundle.format.spec import Profile, Range, TensorSpec

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = yaml.safe_load((ROOT / "manifests" / "quickstart.yaml").read_text())
MODELS = {model["name"]: model for model in MANIFEST["models"]}
GOLDENS = {
    "minilm": models.minilm_goldens,
    "classifier": models.classifier_goldens,
    "pitch": models.pitch_goldens,
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def _profiles(name: str) -> list[Profile]:
    return [
        Profile(profile, tuple((symbol, Range(*bounds)) for symbol, bounds in ranges.items()))
        for profile, ranges in MODELS[name]["profiles"].items()
    ]


def _symbols(name: str, case: dict[str, torch.Tensor]) -> dict[str, int]:
    """Each symbol's value in a case; asserts names, dtypes and that all inputs agree."""
    symbols: dict[str, int] = {}
    specs = [
        TensorSpec(n, i["dtype"], tuple(i["shape"])) for n, i in MODELS[name]["inputs"].items()
    ]
    assert list(case) == [spec.name for spec in specs]
    for spec in specs:
        tensor = case[spec.name]
        assert str(tensor.dtype) == f"torch.{spec.dtype}"
        for dim, size in zip(spec.shape, tensor.shape, strict=True):
            assert symbols.setdefault(str(dim), size) == size
            assert isinstance(dim, str) or dim == size
    return symbols


@pytest.mark.parametrize("name", GOLDENS)
def test_goldens_lie_inside_profiles_and_reach_each_corner(name: str) -> None:
    cases = [_symbols(name, case) for _, case in GOLDENS[name]()]
    profiles = _profiles(name)
    for case in cases:
        assert any(all(case[s] in r for s, r in profile.ranges) for profile in profiles)
    for profile in profiles:
        for point in ("min", "max"):
            assert any(profile.at(point).items() <= case.items() for case in cases)


def test_minilm_goldens_are_padded() -> None:
    masks = [case["attention_mask"] for _, case in models.minilm_goldens()]
    assert any((mask == 0).any() for mask in masks)
    assert any((mask == 1).all() for mask in masks)


def test_sentences_that_mean_the_same_are_close() -> None:
    vectors = models.minilm()(**models.tokenize(models.SENTENCES[:6], 32))["embedding"]
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))
    similarity = vectors @ vectors.T
    alike = [float(similarity[i, i + 1]) for i in (0, 2, 4)]
    unlike = [float(similarity[i, j]) for i in range(6) for j in range(6) if i // 2 != j // 2]
    assert min(alike) > 0.45
    assert max(unlike) < 0.2


def test_padding_does_not_change_an_embedding() -> None:
    model = models.minilm()
    short = model(**models.tokenize(models.SENTENCES[:2], 16))["embedding"]
    long = model(**models.tokenize(models.SENTENCES[:2], 60))["embedding"]
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)


def test_photographs_are_named() -> None:
    images, classes = models.photographs(), models.imagenet_classes()
    assert len(classes) == 1000
    logits = models.classifier()(torch.stack(list(images.values())))["logits"]
    named = {
        name: [classes[i] for i in row.topk(2).indices.tolist()]
        for name, row in zip(images, logits, strict=True)
    }
    assert named["flower"][0] == "daisy"
    assert set(named["china"]) == {"palace", "bell cote, bell cot"}


@pytest.mark.parametrize("hertz", [110.0, 440.0, 1318.51])
def test_pitch_of_a_tone(hertz: float) -> None:
    salience = models.pitch()(models.tone(hertz, 1))["salience"]
    assert salience.shape == (1, 360)
    assert models.hertz_of(salience[0]) == pytest.approx(hertz, rel=0.01)


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps no-such-thing"):
        models.package_folder("no_such_module_here", "no-such-thing")
