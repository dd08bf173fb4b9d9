"""Aliases that somebody with write access to the store moves, sets back, copies or damages."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import (
    BundleError,
    ConflictError,
    FormatError,
    IntegrityError,
    NotFoundError,
    RevokedError,
    StaleError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.move import LAST, Move, stamp
from enginebundle.format.signing import Signer
from enginebundle.serve.loader import open_bundle
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.attacks import mutate
from tests.attacks.victim import Victim
from tests.enginebundle.examples import publish

NOW = datetime.now(UTC)


def moves(victim: Victim, alias: str = "latest", name: str = "tiny") -> Path:
    return victim.root / "bundles" / name / "aliases" / alias


def followed(victim: Victim, reference: str = "tiny", **how: bool) -> int:
    """The version that a service would load."""
    return open_bundle(f"{victim.root}/{reference}", **how).version.number


def record(move: Move, signer: Signer | None = None, **change: object) -> bytes:
    document = move.to_bytes()
    signature = (signer or default_signer()).sign(document)
    value = {"version": move.version, "move": document.decode(), "signature": signature.decode()}
    return canonical_json(value | change)


def put(victim: Victim, move: Move, signer: Signer | None = None, slot: int | None = None) -> None:
    """What a holder of the key may have signed, in the place of a move."""
    path = moves(victim) / f"{move.sequence if slot is None else slot}.json"
    path.write_bytes(record(move, signer))


@pytest.fixture
def move(victim: Victim) -> Move:
    """The next move, to version 1, as the trusted key would sign it."""
    return Move("tiny", "latest", 2, 1, victim.index.digest, stamp(NOW))


def forget(home: Path) -> None:
    """As if this machine saw the store for the first time."""
    shutil.rmtree(home / "seen", ignore_errors=True)


def test_a_move_is_numbered_signed_and_remembered(victim: Victim, home: Path) -> None:
    second = publish(victim.store, label="second")
    assert followed(victim) == followed(victim, "tiny:latest") == 2
    pointer = victim.store.pointer("tiny", "latest")
    assert pointer is not None
    found = victim.store.move(pointer)
    assert (found.sequence, found.version, found.index) == (2, 2, second.digest)
    remembered = [
        path.relative_to(home / "seen").parts[1:] for path in home.glob("seen/*/latest/*/*")
    ]
    key = default_signer().key_id.removeprefix("sha256:")
    assert sorted(remembered) == [("latest", key, "1"), ("latest", key, "2")]


def test_an_alias_costs_one_file_more_than_a_number(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = LocalStorage.get, []

    def counted(self: LocalStorage, path: str, limit: int | None = None) -> bytes | None:
        if self.root == victim.root:
            asked.append(path)
        return read(self, path, limit)

    monkeypatch.setattr(LocalStorage, "get", counted)
    counts = {}
    for reference in ("tiny@1", "tiny:latest"):
        asked.clear()
        followed(victim, reference)
        counts[reference] = len(asked)
    assert counts["tiny:latest"] == counts["tiny@1"] + 1


# Set back


def test_the_last_move_taken_away(victim: Victim) -> None:
    publish(victim.store, label="second")
    assert followed(victim) == 2
    (moves(victim) / "2.json").unlink()
    with pytest.raises(
        StaleError, match="is at move 1, to version 1, and this machine has seen move 2"
    ):
        victim.load("tiny")
    assert followed(victim, allow_stale=True) == 1
    with pytest.raises(StaleError):
        followed(victim)
    assert followed(victim, "tiny@2") == 2


def test_an_earlier_move_in_place_of_the_last(victim: Victim, home: Path) -> None:
    """Its number is not that of its file, so that not even a machine without a memory follows it."""
    publish(victim.store, label="second")
    shutil.copy(moves(victim) / "1.json", moves(victim) / "2.json")
    forget(home)
    with pytest.raises(
        IntegrityError, match=r"move 2 to version 1: what is signed there is move 1"
    ):
        followed(victim)
    shutil.move(moves(victim) / "2.json", moves(victim) / "30.json")
    with pytest.raises(IntegrityError, match="move 30 to version 1"):
        followed(victim)


def test_the_whole_store_set_back(victim: Victim, tmp_path: Path) -> None:
    shutil.copytree(victim.root, tmp_path / "yesterday")
    publish(victim.store, label="second")
    assert followed(victim) == 2
    shutil.rmtree(victim.root)
    shutil.copytree(tmp_path / "yesterday", victim.root)
    with pytest.raises(StaleError, match="the store was set back, or made anew") as caught:
        followed(victim)
    folder = next(word for word in str(caught.value).split() if "/seen/" in word).rstrip(",")
    shutil.rmtree(folder)
    assert followed(victim) == 1, "what the message says helps"


def test_all_moves_taken_away(victim: Victim) -> None:
    shutil.rmtree(moves(victim))
    with pytest.raises(NotFoundError, match="no alias 'latest'"):
        victim.load("tiny")


def test_whoever_publishes_counts_on_from_what_it_has_seen(victim: Victim) -> None:
    publish(victim.store, label="second")
    publish(victim.store, label="third")
    for number in (2, 3):
        (moves(victim) / f"{number}.json").unlink()
    with pytest.raises(StaleError):
        followed(victim)
    victim.store.set_alias("tiny", "latest", 3, expected=1)
    assert [path.name for path in sorted(moves(victim).iterdir())] == ["1.json", "4.json"]
    assert followed(victim) == 3, "a number that was left out is none that is missing"


def test_the_first_move_is_remembered_too(victim: Victim, home: Path) -> None:
    """By a machine that has only followed it."""
    forget(home)
    assert followed(victim) == 1
    (moves(victim) / "1.json").unlink()
    victim.store.set_alias("tiny", "latest", 1)
    assert [path.name for path in moves(victim).iterdir()] == ["2.json"]


def test_what_a_move_says_of_the_one_before(
    victim: Victim, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConflictError, match="tiny:prod points at version none, expected 1"):
        victim.store.set_alias("tiny", "prod", 1, expected=1)
    victim.store.set_alias("tiny", "prod", 1)
    assert caplog.messages == [], "a first move has none before it"
    (moves(victim, "prod") / f"{LAST - 1}.json").write_bytes(b"{")
    victim.store.set_alias("tiny", "prod", 1)
    assert (moves(victim, "prod") / f"{LAST}.json").exists()
    assert "alias tiny:prod is written anew: bundles/tiny/aliases/prod/" in caplog.text


def test_a_revoked_key_moves_no_alias(victim: Victim) -> None:
    other = Signer.generate()
    victim.store.deny([other.key_id])
    with pytest.raises(RevokedError, match=f"key {other.key_id} .*revoked by list 1 of store"):
        victim.store.set_alias("tiny", "prod", 1, signer=other)
    assert not moves(victim, "prod").exists()


def test_a_store_that_was_set_back_means_nothing_by_itself(victim: Victim) -> None:
    publish(victim.store, label="second")
    (moves(victim) / "2.json").unlink()
    with pytest.raises(StaleError):
        victim.store.resolve("tiny")
    assert victim.store.resolve("tiny", allow_stale=True).number == 1


def test_what_another_key_signed_stands_where_that_key_is_trusted(victim: Victim) -> None:
    other = Signer.generate()
    for _ in range(3):
        victim.store.set_alias("tiny", "prod", 1, signer=other, trust=Trust.of(other.public))
    assert [path.name for path in moves(victim, "prod").iterdir()] == ["1.json"]
    with pytest.raises(NotFoundError, match=r"^tiny:prod: .* no version 9"):
        victim.store.set_alias("tiny", "prod", 9)


def test_what_a_store_has_is_named(victim: Victim, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no bundle 'small'; it has: tiny$"):
        followed(victim, "small")
    publish(victim.store, name="large")
    with pytest.raises(NotFoundError, match=r"no bundle 'small'; it has: large, tiny$"):
        followed(victim, "small")
    shutil.rmtree(moves(victim).parent)
    with pytest.raises(NotFoundError, match=r"it has versions \[1\] and aliases none$"):
        followed(victim)
    empty = Store.open(tmp_path / "empty", create=True)
    with pytest.raises(NotFoundError, match=r"no bundle 'tiny'; it has: none$"):
        empty.resolve("tiny")


def test_an_alias_set_back_is_signed_anew_for_the_version_that_it_says(victim: Victim) -> None:
    publish(victim.store, label="second")
    (moves(victim) / "2.json").unlink()
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1
    assert (moves(victim) / "3.json").exists()


def test_a_number_of_a_key_that_is_trusted_no_more_says_nothing(victim: Victim, move: Move) -> None:
    """A stolen key can't make a machine refuse all that comes after it, once it is not trusted any more."""
    thief = Signer.generate()
    put(victim, replace(move, sequence=LAST), thief)
    both = Trust.of(thief.public, default_signer().public)
    assert open_bundle(f"{victim.root}/tiny", both).version.number == 1
    (moves(victim) / f"{LAST}.json").unlink()
    with pytest.raises(StaleError, match=f"has seen move {LAST}"):
        open_bundle(f"{victim.root}/tiny", both)
    assert followed(victim) == 1


def test_another_store_counts_for_itself(victim: Victim, tmp_path: Path) -> None:
    shutil.copytree(victim.root, tmp_path / "other")
    publish(victim.store, label="second")
    assert followed(victim) == 2
    assert open_bundle(f"{tmp_path}/other/tiny").version.number == 1


@pytest.mark.parametrize("way", ["{root}/../store/tiny", "file://{root}/tiny", "{linked}/tiny"])
def test_a_store_is_the_same_however_it_is_reached(
    victim: Victim, tmp_path: Path, way: str
) -> None:
    (tmp_path / "linked").symlink_to(victim.root)
    publish(victim.store, label="second")
    (moves(victim) / "2.json").unlink()
    with pytest.raises(StaleError):
        open_bundle(way.format(root=victim.root, linked=tmp_path / "linked"))


# Signed for something else, by somebody else, or not at all


def other_bundle(victim: Victim) -> bytes:
    publish(victim.store, name="large")
    return (moves(victim, name="large") / "1.json").read_bytes()


def other_alias(victim: Victim) -> bytes:
    publish(victim.store, label="second", alias="next")
    return (moves(victim, "next") / "1.json").read_bytes()


def another_version(victim: Victim) -> bytes:
    publish(victim.store, label="second", alias="next")
    path = moves(victim) / "1.json"
    return canonical_json(parse_json(path.read_bytes()) | {"version": 2})


def changed(victim: Victim) -> bytes:
    value = parse_json((moves(victim) / "1.json").read_bytes())
    return canonical_json(value | {"move": value["move"].replace('"tiny"', '"tinx"')})


def another_signature(victim: Victim) -> bytes:
    value = parse_json((moves(victim) / "1.json").read_bytes())
    return canonical_json(value | {"signature": default_signer().sign(b"something else").decode()})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (other_bundle, "what is signed there is move 1 of large:latest to version 1"),
        (other_alias, "what is signed there is move 1 of tiny:next to version 2"),
        (another_version, r"move 1 to version 2: what is signed there is .* to version 1"),
        (changed, "does not match"),
        (another_signature, "does not match"),
    ],
)
def test_what_was_signed_for_another_place(
    victim: Victim, made: Callable[[Victim], bytes], message: str
) -> None:
    (moves(victim) / "1.json").write_bytes(made(victim))
    with pytest.raises(IntegrityError, match=message):
        victim.load("tiny")
    assert followed(victim, "tiny@1") == 1


@pytest.mark.parametrize("stale", [False, True])
def test_an_alias_that_is_not_signed(victim: Victim, stale: bool) -> None:
    """As aliases were at first. Its number and version are right; who wrote it is not known."""
    (moves(victim) / "2.json").write_bytes(canonical_json({"version": 1}))
    with pytest.raises(
        UntrustedError,
        match=r"is not signed.*`kiln alias tiny@1 latest` on the machine that publishes \(the next `kiln run` there "
        r"does it for `latest`\)\. Or name the version: tiny@1$",
    ):
        followed(victim, allow_stale=stale)
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1
    assert (moves(victim) / "3.json").exists()


@pytest.mark.parametrize("stale", [False, True])
def test_an_alias_by_a_key_that_is_not_trusted(victim: Victim, move: Move, stale: bool) -> None:
    stranger = Signer.generate()
    put(victim, move, stranger)
    with pytest.raises(
        UntrustedError, match=r"alias tiny:latest: signed by key .* not trusted here"
    ):
        followed(victim, allow_stale=stale)
    both = Trust.of(stranger.public, default_signer().public)
    assert open_bundle(f"{victim.root}/tiny", both).version.number == 1
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1


def test_the_number_of_a_version_given_to_another(victim: Victim) -> None:
    """Signed, of the same name, and not what the alias was moved to."""
    publish(victim.store, label="second", alias="next")
    versions = victim.record.parent
    shutil.copy(versions / "2.json", versions / "1.json")
    with pytest.raises(IntegrityError, match="was signed for version 1 with index"):
        victim.load("tiny")
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1, "whoever has the key may mean that one"


def test_a_move_is_no_index_and_no_evidence(victim: Victim, move: Move) -> None:
    """What a key signed as one kind of document is not read as another."""
    document = move.to_bytes()
    victim.swap(index=document, signature=default_signer().sign(document))
    with pytest.raises(FormatError, match="expected a document of format"):
        victim.load("tiny@1")
    raw = victim.index.to_bytes()
    value = {"version": 1, "move": raw.decode(), "signature": default_signer().sign(raw).decode()}
    (moves(victim) / "2.json").write_bytes(canonical_json(value))
    with pytest.raises(FormatError):
        victim.load("tiny")


# Expired


def test_an_alias_that_expired(victim: Victim, move: Move) -> None:
    then = NOW - timedelta(days=30)
    put(victim, replace(move, date=stamp(then), expires=stamp(NOW - timedelta(seconds=1))))
    with pytest.raises(
        StaleError, match=r"alias tiny:latest expired at 20.*`kiln alias tiny@1 latest`"
    ):
        victim.load("tiny")
    assert followed(victim, allow_stale=True) == 1
    assert enginebundle.load(f"{victim.root}/tiny", allow_stale=True).target.backend == "torch"
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1
    pointer = victim.store.pointer("tiny", "latest")
    assert pointer is not None
    again = victim.store.move(pointer)
    assert again.sequence == 3
    assert again.lifetime == timedelta(days=30, seconds=-1), "it keeps the lifetime that it had"


def test_an_alias_that_has_not_expired_yet(victim: Victim, move: Move) -> None:
    put(victim, replace(move, expires=stamp(NOW + timedelta(days=1))))
    assert followed(victim) == 1


@pytest.mark.parametrize(
    ("age", "lifetime", "signed"),
    [
        (1, None, False),
        (3, None, True),
        (1, timedelta(days=4), False),
        (3, timedelta(days=4), True),
        (1, timedelta(days=5), True),
        (1, timedelta(0), True),
    ],
)
def test_an_alias_is_signed_anew_when_half_of_its_time_is_over(
    victim: Victim, move: Move, age: int, lifetime: timedelta | None, signed: bool
) -> None:
    then = NOW - timedelta(days=age)
    put(victim, replace(move, date=stamp(then), expires=stamp(then + timedelta(days=4))))
    victim.store.set_alias("tiny", "latest", 1, lifetime=lifetime)
    pointer = victim.store.pointer("tiny", "latest")
    assert pointer is not None
    found = victim.store.move(pointer)
    assert found.sequence == (3 if signed else 2)
    wanted = timedelta(days=4) if lifetime is None else lifetime or None
    assert found.lifetime == wanted


# Damaged


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"null", b"7", b"{}", b"[" * 60_000, b"0" * 70_000,
        b'{"version":0}', b'{"version":"1"}',
        b'{"version":1,"version":2}', b'{"move":"x","version":1}', b'{"signature":"x","version":1}',
        b'{"move":"{}","signature":"{}","version":1}', b'{"move":7,"signature":"{}","version":1}',
        b'{"move":"\\ud800","signature":"{}","version":1}', b'{"more":1,"version":1}',
        b'{"move":"' + b"[" * 60_000 + b'","signature":"{}","version":1}',
    ],
)  # fmt: skip
def test_a_damaged_move_is_an_error_and_of_the_alias_alone(victim: Victim, content: bytes) -> None:
    (moves(victim) / "2.json").write_bytes(content)
    with pytest.raises(
        BundleError, match=r"aliases/latest/2\.json|^(move|signature|version|alias tiny)"
    ):
        victim.load("tiny")
    assert followed(victim, "tiny@1") == 1
    victim.store.set_alias("tiny", "latest", 1)
    assert followed(victim) == 1


@pytest.mark.parametrize("stray", [".DS_Store", "Thumbs.db/", "-x", "a b", "x" * 201, ".nfs01/"])
def test_what_is_no_alias_is_overlooked_and_a_damaged_one_is_named(
    victim: Victim, stray: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = moves(victim).parent / stray
    place.mkdir() if stray.endswith("/") else place.write_bytes(b"\0")
    assert victim.store.aliases("tiny") == {"latest": 1}
    assert caplog.messages == []
    (moves(victim) / "2.json").write_bytes(b"{")
    assert victim.store.aliases("tiny") == {}
    (said,) = caplog.messages
    assert "alias tiny:latest is left out: bundles/tiny/aliases/latest/2.json is not JSON" in said


def test_a_sparse_file_of_two_gigabytes(victim: Victim) -> None:
    with open(moves(victim) / "2.json", "wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(BundleError, match="expected at most 65536"):
        victim.load("tiny")


def test_the_last_number_used_up(victim: Victim) -> None:
    (moves(victim) / f"{LAST}.json").write_bytes(b"")
    with pytest.raises(StoreError, match=f"Remove .*{LAST}.json"):
        victim.store.set_alias("tiny", "latest", 1)


@pytest.mark.parametrize("signed", [False, True])
def test_mutants(victim: Victim, move: Move, signed: bool) -> None:
    """Each is refused or means a version that the store has."""
    draw = random.Random(14)
    good, refused = record(move), 0
    for _ in range(150):
        if signed:
            document = mutate.text(mutate.tree(draw, parse_json(move.to_bytes())))
            value = parse_json(good)
            value["move"] = document.decode(errors="replace")
            value["signature"] = default_signer().sign(value["move"].encode()).decode()
            content = canonical_json(value)
        else:
            content = mutate.data(draw, good)
        (moves(victim) / "2.json").write_bytes(content)
        try:
            assert followed(victim) == 1
        except BundleError:
            refused += 1
    assert refused > 100


# Several at once


def test_of_promoters_that_move_at_once_one_wins(victim: Victim) -> None:
    """Each with a key of its own, from what it saw: the others learn that somebody came first."""
    for label in "bcdefg":
        publish(victim.store, label=label, alias="next")
    signers = [Signer.generate() for _ in range(6)]
    trust = Trust.of(default_signer().public, *(signer.public for signer in signers))

    def promote(number: int) -> bool:
        store = Store.open(victim.root)
        try:
            store.set_alias(
                "tiny", "latest", number, expected=1, signer=signers[number - 2], trust=trust
            )
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(promote, range(2, 8)))
    assert won.count(True) == 1
    assert open_bundle(f"{victim.root}/tiny", trust).version.number == 2 + won.index(True)
    assert sorted(path.name for path in moves(victim).iterdir()) == ["1.json", "2.json"]


def test_a_promoter_that_comes_second_between_two_looks(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's move is remembered on this machine by then, and is no reason to count on from it."""
    publish(victim.store, label="second", alias="next")
    store, other = Store.open(victim.root), Store.open(victim.root)
    look = store.standing

    def late(*given: object) -> object:
        other.set_alias("tiny", "latest", 2, expected=1)
        return look(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "standing", late)
    with pytest.raises(ConflictError, match="points at version 2, expected 1"):
        store.set_alias("tiny", "latest", 1, expected=1, lifetime=timedelta(days=1))
    assert sorted(path.name for path in moves(victim).iterdir()) == ["1.json", "2.json"]


def test_a_move_between_two_looks_of_a_reader_is_not_one_that_is_gone(victim: Victim) -> None:
    """Another process of this machine moves the alias, and remembers that, after the reader has looked."""
    pointer = victim.store.pointer("tiny", "latest")
    assert pointer is not None
    publish(victim.store, label="second")
    assert victim.store.move(pointer).version == 1
    assert followed(victim) == 2


def test_of_promoters_that_expect_nothing_each_gets_a_number(victim: Victim) -> None:
    for label in "bcde":
        publish(victim.store, label=label, alias="next")

    def promote(number: int) -> None:
        Store.open(victim.root).set_alias("tiny", "latest", number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, range(2, 6)))
    names = [path.stem for path in sorted(moves(victim).iterdir())]
    assert names == ["1", "2", "3", "4", "5"]
    assert followed(victim) in range(2, 6)
