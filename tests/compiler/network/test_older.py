"""Networks for a TensorRT that lacks some layers: the same numbers, by layers that it has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import EngineOptions, _log, _profile, build_engine
from compiler.network.emit import Emitter
from compiler.network.evaluate import evaluate
from compiler.network.kinds import KINDS
from compiler.network.older import lacking, without
from enginebundle.format.spec import Profile, Range
from tests.compiler.network.cases import CASES
from tests.compiler.network.test_layers import border

NEWER = frozenset(row.needs for row in KINDS.values() if row.needs)


def kinds(network) -> set[str]:  # type: ignore[no-untyped-def]
    return {layer.kind for layer in network.layers}


AFFECTED = [
    case
    for case in CASES
    if any(KINDS[kind].needs for kind in kinds(case.network())) or "loop" in kinds(case.network())
]


@pytest.mark.parametrize("case", AFFECTED, ids=str)
def test_the_older_spelling_gives_the_same_numbers_and_builds(case):  # type: ignore[no-untyped-def]
    network = case.network()
    older = without(network, NEWER)
    assert not any(KINDS[kind].needs for kind in kinds(older))
    for n in (2, 3, 5):
        feeds = case.feeds(n)
        want, found = evaluate(network, feeds), evaluate(older, feeds)
        for name, value in want.items():
            assert found[name].dtype == value.dtype
            bound = 2e-2 if value.dtype in (torch.float16, torch.bfloat16) else 1e-5
            torch.testing.assert_close(found[name], value, atol=bound, rtol=bound, equal_nan=True)
    profile = Profile("p", (("n", Range(2, 3, 5)),))
    options = EngineOptions((profile,), capabilities=("sm_89",))
    assert build_engine(tensorrt_rtx.module(), older, border(case), options)


def test_every_kind_that_needs_something_newer_is_among_the_cases():
    covered = set().union(*(kinds(case.network()) for case in AFFECTED))
    assert {row.name for row in KINDS.values() if row.needs} <= covered


def test_a_network_that_needs_nothing_newer_is_given_as_it_is():
    case = next(case for case in CASES if case not in AFFECTED)
    network = case.network()
    assert without(network, NEWER) is network
    assert without(AFFECTED[0].network(), ()).layers


def test_what_is_lacking_is_asked_of_the_module():
    assert lacking(tensorrt_rtx.module()) == frozenset()
    definition = type("INetworkDefinition", (), {"add_squeeze": None, "add_attention_v2": None})
    trt = SimpleNamespace(INetworkDefinition=definition)
    assert lacking(trt) == NEWER - {"add_squeeze", "add_attention_v2"}


class Older:
    """An INetworkDefinition as TensorRT 10.6 has it, around one of today's."""

    def __init__(self, definition: Any) -> None:
        self._definition = definition

    def __getattr__(self, name: str) -> Any:
        if name in NEWER | {"add_normalization_v2"}:
            raise AttributeError(name)
        if name == "add_topk":
            return lambda tensor, op, k, axes: self._definition.add_topk(tensor, op, k, axes)
        return getattr(self._definition, name)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if kinds(case.network()) & {"normalization", "topk"}],
    ids=str,
)
def test_a_layer_that_has_changed_is_emitted_in_its_first_form(case):
    trt = tensorrt_rtx.module()
    log = _log(trt)
    builder = trt.Builder(log)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    emitted = Emitter(trt, Older(definition)).emit(without(case.network(), NEWER))
    config = builder.create_builder_config()
    profile = Profile("p", (("n", Range(2, 3, 5)),))
    config.add_optimization_profile(_profile(builder, border(case), profile))
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert builder.build_serialized_network(definition, config) is not None, log.quote()
    del emitted
