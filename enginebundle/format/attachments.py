"""Files that a model needs beside its tensors, such as a tokenizer's: names, and the blobs that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest
from enginebundle.format.parse import check_name, digest, mapping

Attachments = tuple[tuple[str, Digest], ...]
"""Name and blob of each, by name."""


def attachments_from_json(value: Any) -> Attachments:
    """FormatError unless it maps names to digests."""
    return tuple(
        (check_attachment(name), digest(blob, f"attachment {name!r}"))
        for name, blob in mapping(value, "attachments").items()
    )


def check_attachment(name: str) -> str:
    """A name that is safe as a path below a folder: names as of bundles, with `/` between."""
    if len(name) > 500:
        raise FormatError(f"attachment {name[:40]!r}...: expected at most 500 characters")
    for part in name.split("/"):
        check_name(part, f"attachment {name!r}:")
    return name


def check_attachments(names: Iterable[str]) -> None:
    """FormatError unless all can lie in one folder, on a disk that ignores case as well."""
    known: dict[str, str] = {}
    for name in names:
        check_attachment(name)
        if (other := known.setdefault(name.lower(), name)) != name:
            raise FormatError(f"attachments: {other!r} and {name!r} differ in case only")
    for name in known:
        parts = name.split("/")
        above = ("/".join(parts[:n]) for n in range(1, len(parts)))
        if folder := next((known[one] for one in above if one in known), None):
            raise FormatError(f"attachments: {folder!r} is a file and a folder")
