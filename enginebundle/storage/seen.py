"""What this machine remembers: the highest number that it has seen from each key, of evidence and of aliases.

A store can be set back as a whole, heads and all, by whoever can write to it. Then this memory tells that
newer evidence, or a later move of an alias, has existed. It lies in $ENGINEBUNDLE_HOME, else
~/.config/enginebundle:

    seen/<64 hex of the subject>/<place>/<64 hex of the key>/<n>     empty; the highest n counts

Of evidence, the subject is the index and the place its target; of moves, a store's bundle of some name
(`storage.aliases`) and its alias. Files are only ever added, so any number of processes may write. Where
nothing can be written, nothing is remembered, and the store is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from enginebundle.errors import FormatError, StoreError
from enginebundle.format.digest import Digest, hexadecimal
from enginebundle.format.evidence import LAST
from enginebundle.storage.home import home
from enginebundle.storage.local import LocalStorage

P = TypeVar("P", bound=Hashable)


def seen(subject: Digest, place: Callable[[str], P]) -> dict[tuple[P, Digest], int]:
    """The highest numbers about a subject, by place and key. `place` reads a place's name.

    Files that others left there say nothing.
    """
    found: dict[tuple[P, Digest], int] = {}
    paths: list[str] = []
    with suppress(StoreError):
        paths = LocalStorage(home(), links=True).files(_folder(subject))
    for path in paths:
        with suppress(ValueError, FormatError):
            _, _, name, key, number = path.split("/")
            where = place(name), f"sha256:{key}"
            if 0 <= int(number) <= LAST:
                found[where] = max(found.get(where, 0), int(number))
    return found


def remember(subject: Digest, numbers: Mapping[tuple[P, Digest], int]) -> None:
    """Remember these numbers."""
    for (place, key), number in numbers.items():
        with suppress(StoreError):
            storage = LocalStorage(home(), links=True)
            storage.create(f"{_folder(subject)}/{place}/{hexadecimal(key)}/{number}", b"")


def kept_in(subject: Digest) -> Path:
    """The folder of what is remembered about a subject: without it, nothing is. StoreError without a home."""
    return home() / _folder(subject)


def _folder(subject: Digest) -> str:
    return f"seen/{hexadecimal(subject)}"
