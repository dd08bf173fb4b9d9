"""Decoders with an explicit cache say what eager PyTorch says: 32 tokens after three prompts.

The prompts are of 3, 19 and 70 tokens: one batch, padded, the longest in two pieces.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import pytest
import torch

import enginebundle
import generation_models as models
from benchmarks.gpu_generation import COUNT, eager
from compiler.network.evaluate import evaluate
from compiler.pipeline import (
    BuildRequest,
    TraceRequest,
    build_program,
    convert_program,
    trace_model,
)
from compiler.trace.source import Source
from enginebundle.format.spec import Target
from enginebundle.serve.decoding import greedy
from orchestrator.manifest.load import load
from tests.e2e.kiln import ROOT, kiln

MANIFEST = ROOT / "manifests" / "generation.yaml"
ENTRIES = {model.name: model for model in load(MANIFEST).models}


class Networks:
    """What an engine would compute, on the CPU: the decoder's network, layer by layer."""

    def __init__(self, name: str, precision: str = "fp32", cache: str = "float32") -> None:
        entry = ENTRIES[name]
        self.profiles = entry.profiles
        self.inputs = tuple(
            replace(spec, dtype=cache) if spec.name.startswith("past_") else spec
            for spec in entry.inputs
        )
        source = Source.from_json(entry.source.to_json())
        self.program = trace_model(
            TraceRequest(source, self.inputs, self.profiles, None, precision)
        ).program
        self.job = BuildRequest(
            Target.parse("rtx:sm_89"), self.profiles, precision, require_full_compilation=True
        )
        converted = convert_program(self.program, self.job)
        (self.network,) = converted.networks
        self.returns = converted.parts.returns

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        made = evaluate(self.network, inputs)
        names = [spec.name for spec in self.program.graph.outputs]
        return {name: made[value] for name, value in zip(names, self.returns, strict=True)}


class Forgetful(Networks):
    """Gives back the caches that it was given."""

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        kept = {n.removeprefix("past_"): t for n, t in inputs.items() if n.startswith("past_")}
        return super().__call__(**inputs) | kept


@functools.cache
def networks(name: str) -> Networks:
    return Networks(name)


@functools.cache
def wanted(name: str) -> list[list[int]]:
    return eager(models.MODELS[name](), models.PROMPTS)[0]


@pytest.mark.parametrize("name", models.MODELS)
def test_prefill_and_decode_are_profiles_of_one_engine(name: str) -> None:
    decoder = networks(name)
    built = build_program(decoder.program, decoder.job)
    (segment,) = built.segments
    assert segment.kind == "engine"
    assert segment.engine
    assert built.report["torch_nodes"] == 0
    assert [profile.name for profile in decoder.job.profiles] == ["prefill", "decode"]


@pytest.mark.parametrize("name", models.MODELS)
def test_the_networks_generate_what_eager_does(name: str) -> None:
    got = greedy(networks(name), models.PROMPTS, COUNT)
    assert got.tolist() == wanted(name)
    assert all(len(set(row)) > 12 for row in wanted(name)), (
        "a model that says one word proves little"
    )


@pytest.mark.parametrize("name", models.MODELS)
def test_a_cache_that_forgets_generates_something_else(name: str) -> None:
    decoder = networks(name)
    forgets = copy.copy(decoder)
    forgets.__class__ = Forgetful
    for row, right in zip(greedy(forgets, models.PROMPTS, 8), wanted(name), strict=True):
        assert row.tolist() != right[:8]


def test_half_precision_with_caches_in_half() -> None:
    decoder = Networks("llama", "fp16", "float16")
    (segment,) = build_program(decoder.program, decoder.job).segments
    caches = [spec for spec in segment.inputs if spec.name.startswith("past_")]
    assert {spec.dtype for spec in caches} == {"float16"}
    assert greedy(decoder, models.PROMPTS, COUNT).tolist() == wanted("llama")


def test_the_published_bundle_generates_what_eager_does(tmp_path, monkeypatch) -> None:
    store, home = tmp_path / "store", tmp_path / "home"
    words = ("run", MANIFEST, "--store", store, "--executor", "local")
    run = kiln(home, *words, "--only", "llama/promote")
    assert run.returncode == 0, run.stderr
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home))
    decoder = enginebundle.load(f"{store}/llama:latest", target="torch:cpu")
    assert greedy(decoder, models.PROMPTS, COUNT).tolist() == wanted("llama")
