"""Canonical JSON and SHA-256. All hashing in the project happens here.

Canonical JSON here is RFC 8785 without its rules for formatting numbers: UTF-8, keys sorted by code
point, no white space, no duplicate keys, finite numbers only. Python prints a float as the shortest
decimal that reads back as the same float, so equal values give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from enginebundle.errors import FormatError

PREFIX = "sha256:"
_PATTERN = re.compile(r"sha256:[0-9a-f]{64}\Z")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_CHUNK = 1 << 20

Digest = str
"""`sha256:` and 64 lower-case hexadecimal digits."""


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of a JSON value. Raises ValueError on NaN, infinity or a non-JSON type."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except TypeError as error:
        raise ValueError(f"not a JSON value: {error}") from error
    return text.encode()


def parse_json(data: bytes) -> Any:
    """Parse JSON strictly: duplicate keys, NaN, numbers beyond a float and half a surrogate pair raise ValueError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("duplicate key in a JSON object")
        return result

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    def finite(literal: str) -> float:
        number = float(literal)
        return number if math.isfinite(number) else refuse(literal)

    value = json.loads(data, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
    if _SURROGATE.search(data):
        canonical_json(value)  # raises UnicodeEncodeError, which is a ValueError, for half a pair
    return value


def digest_bytes(data: bytes | bytearray | memoryview) -> Digest:
    """SHA-256 of a buffer."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> Digest:
    """SHA-256 of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> Digest:
    """SHA-256 of a file's content, read in chunks."""
    with path.open("rb") as file:
        return digest_chunks(iter(lambda: file.read(_CHUNK), b""))


def digest_chunks(chunks: Iterable[bytes]) -> Digest:
    """SHA-256 of the chunks of a stream, in order."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return PREFIX + state.hexdigest()


def is_digest(text: object) -> bool:
    """Whether `text` has the form of a digest."""
    return isinstance(text, str) and _PATTERN.match(text) is not None


def hexadecimal(digest: Digest) -> str:
    """The 64 digits of a digest, safe in a path. FormatError if it is not a digest."""
    if not is_digest(digest):
        raise FormatError(f"digest {digest!r}: expected sha256: and 64 hexadecimal digits")
    return digest.removeprefix("sha256:")
