"""Random attacks on who may say what: aliases, lists of what is revoked, and limits of keys."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from enginebundle.format.denials import Denials
from enginebundle.format.digest import digest_bytes
from enginebundle.format.move import LAST, Move, stamp
from enginebundle.format.role import ROLES
from enginebundle.storage.trust import default_signer
from tests.attacks import mutate
from tests.attacks.prey import Prey

T = TypeVar("T", Move, Denials)
NOW = datetime.now(UTC)
DATE = stamp(NOW)
NAMES = ["tiny", "t*", "*", "tiny large", "large", "*y"]
ELSEWHERE = ["large", "tin", "Tiny", "tiny-*", "large *x"]
"""Limits that don't let a key sign for `tiny`."""


def alias(prey: Prey, draw: random.Random, signed: bool) -> str:
    """A last move of `latest`. Returns the reference to load."""
    slot, version = draw.choice([2, 2, 2, 1, 9, LAST]), draw.choice([1, 1, 1, 2, 0, LAST + 1])
    move = replace(_move(prey), sequence=slot)
    content = _changed(
        draw, move, name=["large", "tiny.", ""], alias=["prod", ""], sequence=[1, 3, 0, LAST, LAST + 1],
        version=[2, 0, LAST + 1], index=[digest_bytes(b"an index")],
        date=[stamp(NOW + timedelta(days=9)), "now"], expires=[stamp(NOW - timedelta(days=1)), DATE, "never"],
    )  # fmt: skip
    path = prey.root / f"bundles/tiny/aliases/latest/{slot}.json"
    prey.write(path, "move", content, default_signer() if signed else None, version=version)
    return f"{prey.root}/tiny"


def revocation(prey: Prey, draw: random.Random, signed: bool) -> None:
    """A last list of what is revoked."""
    index, key = prey.read(prey.record, "index")[0], default_signer().key_id
    number = draw.choice([1, 1, 1, 2, LAST])
    content = _changed(
        draw, replace(_list(), sequence=number), sequence=[1, 2, 0, LAST, LAST + 1],
        keys=[(), (key,), (prey.other.key_id,), (key, key), tuple(digest_bytes(bytes([n])) for n in range(200))],
        indexes=[(), (index,), (key,), tuple(sorted(digest_bytes(bytes([n])) for n in range(200)))],
        date=["", stamp(NOW + timedelta(days=9))],
    )  # fmt: skip
    path = prey.root / f"revoked/{number}.json"
    prey.write(path, "list", content, default_signer() if signed else None)


def limit(prey: Prey, draw: random.Random) -> None:
    """Lines below the trusted key."""
    path = next((prey.home / "trusted").iterdir())
    may, names = (
        f"may: {' '.join(draw.sample(ROLES, draw.randint(1, 4)))}\n",
        f"names: {draw.choice(NAMES)}\n",
    )
    lines = draw.choice(["", may, names, may + names]).encode()
    path.write_bytes(
        path.read_bytes() + (mutate.data(draw, lines) if draw.random() < 0.7 else lines)
    )


def role(prey: Prey, draw: random.Random) -> str:
    """What a trusted key signs that may sign other things only. Right or mutated, nobody may follow it."""
    lacks = draw.choice(["bundles", "aliases", "revocations"])
    others = [one for one in ROLES if one != lacks]
    lines = f"may: {' '.join(draw.sample(others, draw.randint(1, 3)))}\n"
    if draw.random() < 0.5:
        lines = f"names: {draw.choice(ELSEWHERE)}\n" + draw.choice(["", lines])
    prey.trust_other(lines)
    index = prey.read(prey.record, "index")[1]
    content = {"bundles": index, "aliases": _move(prey).to_bytes()}.get(lacks, _list().to_bytes())
    if draw.random() < 0.7:
        content = mutate.document(draw, content)
    match lacks:
        case "bundles":
            prey.sign(prey.record, "index", content, prey.other)
            return f"{prey.root}/tiny@1"
        case "aliases":
            path = prey.root / "bundles/tiny/aliases/latest/2.json"
            prey.write(path, "move", content, prey.other, version=1)
        case _:
            prey.write(prey.root / "revoked/1.json", "list", content, prey.other)
    return f"{prey.root}/tiny"


def _move(prey: Prey) -> Move:
    return Move("tiny", "latest", 2, 1, prey.read(prey.record, "index")[0], DATE)


def _list() -> Denials:
    return Denials(1, (digest_bytes(b"a key"),), (digest_bytes(b"an index"),), DATE)


def _changed(draw: random.Random, good: T, **fields: list[Any]) -> bytes:
    """The document with other values of the right kinds in one or two fields, or mutated, or as it is."""
    if draw.random() < 0.4:
        return mutate.document(draw, good.to_bytes())
    count = draw.choice([0, 1, 1, 2])
    changed = {name: draw.choice(fields[name]) for name in draw.sample(sorted(fields), count)}
    return replace(good, **changed).to_bytes()
