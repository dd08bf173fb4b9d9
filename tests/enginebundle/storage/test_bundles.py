"""Versions that never change and aliases that move: who wins, who learns it, and what damage costs."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebundle.errors import ConflictError, FormatError, NotFoundError, UnreadableError
from enginebundle.format.digest import canonical_json, digest_bytes
from enginebundle.storage import bundles
from enginebundle.storage.reading import SMALL
from enginebundle.storage.store import Store, Version

ONE, TWO = digest_bytes(b"one"), digest_bytes(b"two")
DAMAGED = [
    b"", b"{", b"{}", b"[]", b"null", b"\xff", b'{"index": 1, "signature": 2}', b'{"index": "sha256:"}',
]  # fmt: skip


def meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch, another: bytes) -> list[str]:
    """Another writer fills the slot that this store is about to fill, once. Returns the slots asked for."""
    create, asked = store.storage.create, []

    def late(path: str, data: bytes) -> bytes:
        if path.startswith("bundles/"):
            asked.append(path)
            if len(asked) == 1:
                create(path, another)
        return create(path, data)

    monkeypatch.setattr(store.storage, "create", late)
    return asked


# -- versions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_version_is_left_out_said_and_published_again_under_the_next_number(
    damaged: bytes, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (store.publish("m", content, b"sig") for content in (b"one", b"two"))
    store.storage.put("bundles/m/versions/2.json", damaged)
    assert store.versions("m") == [one]
    assert f"store {store.uri}: version m@2 is left out: bundles/m/versions/2.json" in caplog.text
    assert (store.holds(one), store.holds(two)) == (True, False)
    again = store.publish("m", b"two", b"sig")
    assert (again.number, again.created) == (3, True)
    assert store.resolve("m@3") == again
    assert store.numbers("m") == [1, 2, 3]


def test_a_number_that_another_took_is_passed_over_unless_it_is_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("m", b"zero", b"sig")
    other = canonical_json({"index": ONE, "signature": digest_bytes(b"sig")})
    asked = meanwhile(store, monkeypatch, other)
    made = store.publish("m", b"two", b"sig")
    assert (made.number, made.digest, made.created) == (3, TWO, True)
    assert asked == ["bundles/m/versions/2.json", "bundles/m/versions/3.json"]
    assert [version.digest for version in store.versions("m")][1:] == [ONE, TWO]


@pytest.mark.parametrize("signature", [b"sig", b"another"])
def test_the_same_content_published_at_once_is_one_version(
    signature: bytes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = canonical_json({"index": ONE, "signature": digest_bytes(b"another")})
    meanwhile(store, monkeypatch, same)
    made = store.publish("m", b"one", signature)
    assert (made.number, made.digest) == (1, ONE)
    assert made.created == (signature == b"another"), "the record tells whose it is"
    assert store.numbers("m") == [1]


def test_numbers_are_counted_and_stray_files_are_none(store: Store) -> None:
    for n in range(12):
        store.publish("m", b"%d" % n, b"sig")
    for stray in ("0", "01", "x", "1234567890", "3.json", "-1"):
        store.storage.put(f"bundles/m/versions/{stray}.json", b"{}")
    store.storage.put("bundles/m/versions/13.jsonx", b"{}")
    store.storage.put("bundles/.DS_Store/x", b"")
    assert store.numbers("m") == list(range(1, 13))
    assert store.publish("m", b"more", b"sig").number == 13
    assert store.names() == ["m"]
    assert (store.numbers("other"), store.versions("other")) == ([], [])


def test_a_version_that_is_not_there_is_named(store: Store) -> None:
    absent = Version("m", 3, ONE)
    path = "bundles/m/versions/3.json"
    with pytest.raises(NotFoundError, match=re.escape(f"store {store.uri} has no {path}")):
        store.read_index(absent)
    store.storage.put(path, b'{"index": "md5:1", "signature": "sha256:2"}')
    with pytest.raises(FormatError, match=f"{path}: expected a digest as index, got 'md5:1'"):
        store.read_index(absent)
    store.storage.put(path, canonical_json({"index": ONE, "signature": 7}))
    with pytest.raises(FormatError, match=f"{path}: expected a digest as signature, got 7"):
        store.read_index(absent)


def test_neither_index_nor_signature_is_read_beyond_its_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = store.publish("long", b"one", b"s" * (SMALL + 1))
    with pytest.raises(UnreadableError):
        store.read_index(long)
    large = store.publish("large", b"i" * 101, b"s" * SMALL)
    assert store.read_index(large) == (b"i" * 101, b"s" * SMALL)
    monkeypatch.setattr(bundles, "MAX_INDEX", 100)
    with pytest.raises(UnreadableError):
        store.read_index(large)


def test_a_record_beyond_its_limit_is_a_damaged_one(store: Store) -> None:
    one, two = (store.publish("m", content, b"sig") for content in (b"one", b"two"))
    store.set_alias("m", "prod", 1)
    store.set_alias("m", "dev", 2)
    for path in ("bundles/m/versions/1.json", "bundles/m/aliases/prod/1.json"):
        content = store.storage.get(path) or b""
        store.storage.put(path, content.ljust(SMALL))
        assert (store.versions("m"), store.aliases("m")) == ([one, two], {"dev": 2, "prod": 1})
        store.storage.put(path, content.ljust(SMALL + 1))
        assert len(store.versions("m")) + len(store.aliases("m")) == 3
        store.storage.put(path, content)


# -- what can be opened, and copied ---------------------------------------------------------------


def test_a_version_is_held_as_long_as_all_of_it_is_there(store: Store) -> None:
    version = store.publish("m", b"one", b"sig")
    assert store.holds(version)
    assert not store.holds(Version("m", 2, ONE))
    assert not store.holds(Version("m", 1, TWO)), "that number has another index"
    for content in (b"one", b"sig"):
        (path,) = (
            path
            for path in store.storage.files("blobs")
            if path.endswith(digest_bytes(content)[7:])
        )
        store.storage.put(path, content[:-1] + b"x")
        assert not store.holds(version)
        store.storage.remove(path)
        assert not store.holds(version)
        store.storage.put(path, content)
        assert store.holds(version)


def test_a_copy_has_the_number_of_the_original(store: Store) -> None:
    copied = Version("m", 7, ONE)
    store.put_version(copied, b"one", b"sig")
    store.put_version(copied, b"one", b"sig")
    assert store.versions("m") == [copied]
    assert store.read_index(copied) == (b"one", b"sig")
    said = re.escape(f"store {store.uri} has another m@7; publish it as a new version")
    with pytest.raises(ConflictError, match=said):
        store.put_version(Version("m", 7, TWO), b"two", b"sig")
    assert store.read_index(copied) == (b"one", b"sig")


# -- aliases ------------------------------------------------------------------------------------


@pytest.fixture
def three(store: Store) -> Store:
    for content in (b"one", b"two", b"three"):
        store.publish("m", content, b"sig")
    return store


def test_whoever_loses_an_alias_learns_it(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    three.set_alias("m", "prod", 1)
    meanwhile(three, monkeypatch, canonical_json({"version": 2}))
    said = (
        "alias m:prod points at version 2, expected 1: somebody moved it. Look again, then decide"
    )
    with pytest.raises(ConflictError, match=re.escape(said)):
        three.set_alias("m", "prod", 3, expected=1)
    assert three.aliases("m") == {"prod": 2}


def test_whoever_expects_nothing_moves_it_after_the_other(
    three: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.set_alias("m", "prod", 1)
    asked = meanwhile(three, monkeypatch, canonical_json({"version": 2}))
    three.set_alias("m", "prod", 3)
    assert asked == ["bundles/m/aliases/prod/2.json", "bundles/m/aliases/prod/3.json"]
    assert three.aliases("m") == {"prod": 3}


def test_of_many_movers_at_once_one_wins(three: Store) -> None:
    def move(number: int) -> bool:
        try:
            three.set_alias("m", "prod", 1 + number % 3, expected=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(9) as threads:
        moved = list(threads.map(move, range(9)))
    won = {1 + number % 3 for number, one in enumerate(moved) if one}
    assert won == set(three.aliases("m").values()), "two that ask for one version both have it"


def test_that_there_is_no_alias_is_told_as_well(three: Store) -> None:
    with pytest.raises(
        ConflictError, match="alias m:prod points at version none, expected 2: some"
    ):
        three.set_alias("m", "prod", 1, expected=2)
    assert three.aliases("m") == {}
    three.set_alias("m", "prod", 1, expected=0)
    with pytest.raises(
        ConflictError, match="alias m:prod points at version 1, expected none: some"
    ):
        three.set_alias("m", "prod", 2, expected=0)
    with pytest.raises(ConflictError, match="points at version 1, expected none"):
        three.set_alias("m", "prod", 1, expected=0)


@pytest.mark.parametrize("name", ["../m", "", "m/n", ".m"])
def test_a_name_that_can_be_none_is_told_with_what_it_should_be(name: str, three: Store) -> None:
    for use in (
        lambda: three.aliases(name),
        lambda: three.versions(name),
        lambda: three.publish(name, b"one", b"sig"),
        lambda: three.set_alias(name, "prod", 1),
    ):
        with pytest.raises(FormatError, match=r"^bundle name "):
            use()
    with pytest.raises(FormatError, match=r"^alias "):
        three.set_alias("m", name, 1)


def test_an_alias_that_is_there_already_is_not_written_again(three: Store) -> None:
    for _ in range(3):
        three.set_alias("m", "prod", 2)
    three.set_alias("m", "prod", 2, expected=2)
    assert three.storage.files("bundles/m/aliases") == ["bundles/m/aliases/prod/1.json"]
    with pytest.raises(ConflictError, match="points at version 2, expected 3"):
        three.set_alias("m", "prod", 2, expected=3)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"{}", b'{"version": 0}', b'{"version": "1"}', b'{"version": true}', b'{"version": -1}',
     b'{"version": 1, "more": 2}'],
)  # fmt: skip
def test_a_damaged_move_costs_its_alias_and_no_other(
    damaged: bytes, three: Store, caplog: pytest.LogCaptureFixture
) -> None:
    three.set_alias("m", "latest", 3)
    three.set_alias("m", "prod", 1)
    three.set_alias("m", "prod", 2)
    three.storage.put("bundles/m/aliases/prod/2.json", damaged)
    three.storage.put("bundles/m/aliases/.DS_Store/1.json", b"")
    assert three.aliases("m") == {"latest": 3}
    assert "alias m:prod is left out: " in caplog.text
    assert ".DS_Store" not in caplog.text, "what can be no alias is none"
    assert three.resolve("m").number == 3
    with pytest.raises(FormatError):
        three.resolve("m:prod")
    three.set_alias("m", "prod", 1, expected=0)
    assert "alias m:prod is written anew: " in caplog.text
    assert three.aliases("m") == {"latest": 3, "prod": 1}


def test_what_a_reference_does_not_find_is_told_with_what_there_is(
    three: Store, tmp_path: Path
) -> None:
    there = "it has versions [1, 2, 3] and aliases"
    for reference, wanted in (
        ("m@7", "m@7: store {} has no version 7 of 'm'; " + there + " none"),
        ("m:dev", "m:dev: store {} has no alias 'dev' of 'm'; " + there + " none"),
        (f"m@{digest_bytes(b'x')}", "has no index " + digest_bytes(b"x") + " of 'm'; " + there),
        ("n", "store {} has no bundle 'n'; it has: m"),
    ):
        with pytest.raises(NotFoundError, match=re.escape(wanted.format(three.uri))):
            three.resolve(reference)
    three.set_alias("m", "prod", 2)
    three.set_alias("m", "dev", 1)
    with pytest.raises(NotFoundError, match=re.escape(f"{there} dev -> 1, prod -> 2")):
        three.resolve("m@9")
    with pytest.raises(NotFoundError, match=r"m:next: store .* has no version 9"):
        three.set_alias("m", "next", 9)
    three.storage.remove("bundles/m/versions/2.json")
    with pytest.raises(NotFoundError, match=r"m:prod: store .* has no version 2 of 'm'"):
        three.resolve("m:prod")
    three.publish("more", b"one", b"sig")
    with pytest.raises(NotFoundError, match=r"has no bundle 'n'; it has: m, more$"):
        three.resolve("n")
    empty = Store.open(tmp_path / "empty", create=True)
    with pytest.raises(NotFoundError, match=r"has no bundle 'm'; it has: none$"):
        empty.resolve("m")
