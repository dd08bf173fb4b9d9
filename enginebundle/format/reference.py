"""References to bundles: `NAME`, `NAME@3`, `NAME@sha256:...` or `NAME:alias`, with or without a store."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, is_digest
from enginebundle.format.parse import check_name

LATEST = "latest"
"""The alias that a bare name means."""
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True, slots=True)
class Reference:
    """A bundle's name and exactly one of: a version number, the digest of an index, an alias."""

    name: str
    number: int | None = None
    digest: Digest | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.alias is not None:
            return f"{self.name}:{self.alias}"
        return f"{self.name}@{self.number or self.digest}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read one of the four forms. FormatError on anything else."""
        name, at, version = text.partition("@")
        if not at:
            name, colon, alias = text.partition(":")
            alias = alias if colon else LATEST
            return cls(check_name(name, "bundle name"), alias=check_name(alias, "alias"))
        check_name(name, "bundle name")
        if is_digest(version):
            return cls(name, digest=version)
        if not _NUMBER.match(version):
            raise FormatError(
                f"version {version!r} of {name!r}: expected a number from 1 or sha256:HEX"
            )
        return cls(name, number=int(version))


def split(text: str) -> tuple[str, str]:
    """`STORE/REFERENCE[?query]` as (store URI with its query, reference). FormatError without a store."""
    path, mark, query = text.partition("?") if "://" in text else (text, "", "")
    store, slash, reference = path.rpartition("/")
    if not slash or not reference:
        raise FormatError(
            f"reference {text!r}: expected STORE/NAME[@VERSION|:ALIAS], such as ./store/minilm:latest"
        )
    return (store or "/") + mark + query, reference
