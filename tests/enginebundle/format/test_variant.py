"""Variants as JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.fallback import Fallback
from enginebundle.format.variant import Part, Segment
from tests.enginebundle.examples import engine_variant

SEGMENT = engine_variant("rtx:sm_89", digest_bytes(b"")).parts[0].segments[0]


def test_an_engine_without_plugins_is_written_as_before_there_were_any() -> None:
    assert "plugins" not in SEGMENT.to_json()
    assert Segment.from_json(SEGMENT.to_json()) == SEGMENT


def test_an_engine_names_its_plugins() -> None:
    segment = replace(SEGMENT, plugins=("Gated@1", "Scan@2@mine"))
    assert segment.to_json()["plugins"] == ["Gated@1", "Scan@2@mine"]
    assert Segment.from_json(segment.to_json()) == segment
    with pytest.raises(FormatError, match="plugin: expected text"):
        Segment.from_json(segment.to_json() | {"plugins": [3]})


REPORT: dict[str, Any] = {
    "engine_nodes": 9, "torch_nodes": 3,
    "reasons": [
        {"op": "aten.sort.stable", "code": "dtype", "detail": "no bool", "remedy": "cast", "count": 2},
        {"op": "aten.nonzero.default", "code": "data", "detail": "x" * 900, "remedy": "", "count": 1},
    ],
}  # fmt: skip


def test_a_part_without_fallback_is_written_as_before_there_was_any() -> None:
    part = engine_variant("rtx:sm_89", digest_bytes(b"")).parts[0]
    assert "fallback" not in part.to_json()
    assert Part.from_json(part.to_json()) == part


def test_a_part_says_what_runs_in_torch() -> None:
    part = engine_variant("rtx:sm_89", digest_bytes(b"")).parts[0]
    told = replace(part, fallback=Fallback.of_report(REPORT))
    assert Part.from_json(told.to_json()) == told
    assert str(told.fallback).startswith(
        "3 of 12 nodes run in torch: 2 x aten.sort.stable (dtype: no bool); 1 x aten.nonzero.default"
    )
    assert len(str(told.fallback)) < 600
    many = REPORT | {"reasons": REPORT["reasons"] * 20}
    assert len(Fallback.of_report(many).reasons) == 20


@pytest.mark.parametrize("change", [{"engine": -1}, {"torch": True}, {"reasons": {}}, {"more": 1}])
def test_a_fallback_that_makes_no_sense(change: dict[str, object]) -> None:
    value = Fallback.of_report(REPORT).to_json()
    with pytest.raises(FormatError):
        Fallback.from_json(value | change)
