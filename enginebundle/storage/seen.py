"""What this machine remembers: the number of the newest evidence that it has seen of each key.

A store can be set back as a whole, heads and all, by whoever can write to it. Then this memory tells that
newer evidence has existed. It lies in $ENGINEBUNDLE_HOME, else ~/.config/enginebundle:

    seen/<64 hex of the index>/<target>/<64 hex of the key>/<n>     empty; the highest n counts

Files are only ever added, so any number of processes may write. Where nothing can be written, nothing is
remembered, and the store is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from enginebundle.errors import FormatError, StoreError
from enginebundle.format.digest import Digest, hexadecimal
from enginebundle.format.evidence import LAST
from enginebundle.format.spec import Target
from enginebundle.storage.home import home
from enginebundle.storage.local import LocalStorage

Numbers = Mapping[tuple[Target, Digest], int]
"""The highest sequence number by target and key."""


def seen(index: Digest) -> Numbers:
    """What is remembered about an index. Files that others left there say nothing."""
    found: dict[tuple[Target, Digest], int] = {}
    paths: list[str] = []
    with suppress(StoreError):
        paths = LocalStorage(home(), links=True).files(_folder(index))
    for path in paths:
        with suppress(ValueError, FormatError):
            _, _, target, key, number = path.split("/")
            place = Target.parse(target), f"sha256:{key}"
            if 0 <= int(number) <= LAST:
                found[place] = max(found.get(place, 0), int(number))
    return found


def remember(index: Digest, numbers: Numbers) -> None:
    """Remember these numbers."""
    for (target, key), number in numbers.items():
        with suppress(StoreError):
            storage = LocalStorage(home(), links=True)
            storage.create(f"{_folder(index)}/{target}/{hexadecimal(key)}/{number}", b"")


def _folder(index: Digest) -> str:
    return f"seen/{hexadecimal(index)}"
