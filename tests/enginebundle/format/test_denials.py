"""The document that lists what is revoked."""

from __future__ import annotations

from typing import Any

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.denials import MAX_BYTES, Denials
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json

A, B = sorted([digest_bytes(b"a"), digest_bytes(b"b")])
DATE = "2026-11-01T10:00:00Z"
GOOD = Denials(2, (A,), (A, B), DATE)


@pytest.mark.parametrize("good", [GOOD, Denials(1, (), (), DATE)])
def test_it_reads_what_it_writes(good: Denials) -> None:
    assert Denials.from_bytes(good.to_bytes()) == good


@pytest.mark.parametrize(
    "change",
    [
        {"format": "enginebundle.alias/1"}, {"sequence": 0}, {"sequence": True}, {"sequence": "1"},
        {"keys": None}, {"keys": A}, {"keys": [A, A]}, {"keys": [B, A]}, {"keys": ["sha256:0"]}, {"keys": [7]},
        {"indexes": {}}, {"indexes": [B, A]}, {"indexes": [A.upper()]}, {"indexes": [None]},
        {"date": ""}, {"date": "now"}, {"date": None}, {"more": 1},
    ],
)  # fmt: skip
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        Denials.from_bytes(canonical_json(parse_json(GOOD.to_bytes()) | change))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b" " + GOOD.to_bytes(), b"0" * (MAX_BYTES + 1)]
)
def test_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Denials.from_bytes(data)
