"""Variants as JSON."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.variant import Segment
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
