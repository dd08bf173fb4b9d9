"""The emitter and the builder against what TensorRT 10.6, 10.15 and 11.4 offer, by signature only.

Every layer case is written into a network of each version: each call must bind to one of its
signatures, with arguments of the declared types, and each attribute must exist and be settable. No
engine is built: that takes TensorRT and a GPU.
"""

from __future__ import annotations

from typing import Any

import pytest

from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.network import emit
from compiler.network.kinds import KINDS
from compiler.network.older import lacking
from enginebundle.format.spec import Profile, Range
from tests.compiler.network.cases import CASES
from tests.compiler.network.test_layers import border
from tests.contract.record import WHEELS, recorded
from tests.contract.strict import module

PROFILE = Profile("p", (("n", Range(2, 3, 5)),))
BUILT = {"Builder.build_serialized_network": lambda builder, network, config: b"engine"}


@pytest.fixture(autouse=True)
def no_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors here have no shapes, so none are compared with those that a network declares."""
    monkeypatch.setattr(emit, "_check", lambda layer, tensor, output, dtype: None)


@pytest.mark.parametrize("version", WHEELS)
def test_every_layer_is_written_with_what_the_version_has(version: str) -> None:
    assert not refused(module("tensorrt", recorded(version), BUILT))


def refused(trt: Any) -> list[str]:
    """The layer cases that can't be written with such a module, and why."""
    wrong = []
    for case in CASES:
        try:
            build_engine(trt, case.network(), border(case), EngineOptions((PROFILE,)))
        except (BuildRefused, AttributeError, TypeError) as error:
            wrong.append(f"{case}: {type(error).__name__}: {error}")
    return wrong


def test_what_each_version_lacks_is_what_the_kinds_say_they_need() -> None:
    lacks = {
        "10.6": {"add_attention_v2", "add_cumulative", "add_squeeze", "add_unsqueeze"},
        "10.15": {"add_attention_v2"},
        "11.4": set(),
    }
    found = {version: lacking(module("trt", recorded(version), {})) for version in WHEELS}
    assert found == lacks
    assert all(callable(row.older) for row in KINDS.values() if row.needs)


@pytest.mark.parametrize(
    ("member", "lines"),
    [
        ("add_softmax", []),
        ("add_reduce", ["add_reduce(self: INetworkDefinition, input: ITensor) -> IReduceLayer"]),
        ("add_unary", ["add_unary(self: INetworkDefinition, a: ITensor, b: str) -> IUnaryLayer"]),
    ],
)
def test_a_member_that_changed_would_be_noticed(member: str, lines: list[str]) -> None:
    found = recorded("10.6")
    changed = {name: its for name, its in found["INetworkDefinition"].items() if name != member}
    if lines:
        changed[member] = lines
    other = module("tensorrt", found | {"INetworkDefinition": changed}, BUILT)
    wrong = refused(other)
    assert wrong
    assert all(f"{member.removeprefix('add_')}" in line for line in wrong)
