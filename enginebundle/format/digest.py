"""Canonical JSON and SHA-256: the one place that hashes.

Canonical JSON here is the subset of RFC 8785 that needs no number formatting rules of its own:
UTF-8, keys sorted by code point, no white space, no duplicate keys, finite numbers only. Python
prints a float as its shortest round-tripping decimal, so equal values give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PREFIX = "sha256:"
_PATTERN = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CHUNK = 1 << 20

Digest = str
"""`sha256:` and 64 lower-case hexadecimal digits."""


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value. Raises ValueError on NaN, infinity or a non-JSON type."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except TypeError as error:
        raise ValueError(f"not a JSON value: {error}") from error
    return text.encode()


def parse_json(data: bytes) -> Any:
    """Parse JSON strictly: duplicate keys and NaN raise ValueError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("duplicate key in a JSON object")
        return result

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    return json.loads(data, object_pairs_hook=unique, parse_constant=refuse)


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """SHA-256 of a buffer."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> Digest:
    """SHA-256 of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> Digest:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return digest_chunks(iter(lambda: file.read(_CHUNK), b""))


def digest_chunks(chunks: Iterable[bytes]) -> Digest:
    """SHA-256 of a stream."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return PREFIX + state.hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` is spelled as a digest."""
    return isinstance(text, str) and _PATTERN.match(text) is not None
