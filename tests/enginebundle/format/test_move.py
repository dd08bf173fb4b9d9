"""The document that says which version an alias means."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.move import LAST, Move, moment, stamp

INDEX = digest_bytes(b"index")
PLAIN = Move("m", "latest", 3, 2, INDEX, "2026-11-01T10:00:00Z")
FIRST = Move("m", "latest", 1, 1, INDEX, "2026-11-01T10:00:00Z")
BOUND = Move("m", "latest", LAST, LAST, INDEX, "2026-11-01T10:00:00Z", "2026-11-05T10:00:00Z")


@pytest.mark.parametrize("move", [PLAIN, FIRST, BOUND])
def test_it_reads_what_it_writes(move: Move) -> None:
    assert Move.from_bytes(move.to_bytes()) == move


def test_a_move_without_end_has_no_key_for_it() -> None:
    assert "expires" not in parse_json(PLAIN.to_bytes())
    assert PLAIN.lifetime is None
    assert not PLAIN.expired(datetime(9999, 1, 1, tzinfo=UTC))
    assert not PLAIN.due(datetime(9999, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("when", "due", "expired"),
    [
        ("2026-11-03T09:59:59Z", False, False),
        ("2026-11-03T10:00:00Z", True, False),
        ("2026-11-05T09:59:59Z", True, False),
        ("2026-11-05T10:00:00Z", True, True),
    ],
)
def test_it_is_due_after_half_of_its_lifetime(when: str, due: bool, expired: bool) -> None:
    assert BOUND.lifetime == timedelta(days=4)
    assert (BOUND.due(moment(when)), BOUND.expired(moment(when))) == (due, expired)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_times_are_in_utc_and_whole_seconds(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the machine stands."""
    there = datetime.fromisoformat("2026-11-01T12:30:00.75+02:00")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert stamp(there) == "2026-11-01T10:30:00Z"
        found = moment("2026-11-01T10:30:00Z")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (found, found.tzinfo) == (datetime(2026, 11, 1, 10, 30, tzinfo=UTC), UTC)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "enginebundle.alias/2"},
        {"name": "../m"}, {"name": ""}, {"name": None}, {"name": "x" * 201},
        {"alias": "a/b"}, {"alias": ["latest"]},
        {"sequence": 0}, {"sequence": -1}, {"sequence": True}, {"sequence": 1.0}, {"sequence": LAST + 1},
        {"version": 0}, {"version": "1"}, {"version": LAST + 1}, {"version": None},
        {"index": "sha256:0"}, {"index": INDEX.upper()}, {"index": 7},
        {"date": ""}, {"date": "2026-11-01"}, {"date": "2026-11-01T10:00:00"}, {"date": 7},
        {"date": "2026-11-01T10:00:00+00:00"}, {"date": "2026-13-01T10:00:00Z"}, {"date": "999-11-01T10:00:00Z"},
        {"date": "2026-1-1T1:0:0Z"}, {"date": "\u0662026-11-01T10:00:00Z"},
        {"expires": ""}, {"expires": None}, {"expires": "never"}, {"expires": "2026-11-01T10:00:00Z"},
        {"expires": "2026-10-31T10:00:00Z"},
        {"more": 1},
    ],
)  # fmt: skip
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    (key,) = change
    whole = r"enginebundle.alias/1: missing keys|expected a document of format|move of an alias: expected"
    with pytest.raises(FormatError, match=rf"^({key}\b|time: expected YYYY|{whole})"):
        Move.from_bytes(canonical_json(parse_json(PLAIN.to_bytes()) | change))


@pytest.mark.parametrize("key", ["format", "name", "alias", "sequence", "version", "index", "date"])
def test_every_key_is_needed(key: str) -> None:
    value = {k: v for k, v in parse_json(PLAIN.to_bytes()).items() if k != key}
    with pytest.raises(FormatError):
        Move.from_bytes(canonical_json(value))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"7", b"\xff", b"{", b"[" * 100_000, b" " + PLAIN.to_bytes()]
)
def test_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Move.from_bytes(data)
