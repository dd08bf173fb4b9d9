"""A store in a local folder."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebundle.errors import (
    ConflictError,
    FormatError,
    IntegrityError,
    NotFoundError,
    StoreError,
)
from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store, Version

KEY = digest_bytes(b"key")


def test_a_folder_is_a_store_once_created(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no store at .*: it has no store.json"):
        Store.open(tmp_path)
    Store.open(tmp_path, create=True)
    assert Store.open(f"file://{tmp_path}").names() == []


def test_a_newer_format_and_an_unknown_scheme_are_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format":"enginebundle.store/2"}')
    with pytest.raises(FormatError, match=r"expected .*store/1"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="expected a folder, file://, s3:// or gs://"):
        Store.open("http://host/store")


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match=r"can't write store.json: .*name another store"):
        Store.open(blocked / "store", create=True)


def test_blobs_are_kept_by_content(store: Store, tmp_path: Path) -> None:
    digest = store.put_blob(b"hello")
    (tmp_path / "hello").write_bytes(b"hello")
    assert store.put_blob(tmp_path / "hello") == digest == digest_bytes(b"hello")
    assert store.has_blob(digest)
    assert store.read_blob(digest) == b"hello"
    assert store.blob_path(digest).read_bytes() == b"hello"
    with pytest.raises(NotFoundError, match="has no blob"):
        store.read_blob(KEY)
    with pytest.raises(NotFoundError, match="has no blob"):
        store.blob_path(KEY)


def test_a_damaged_blob_is_noticed_and_putting_it_again_repairs_it(store: Store) -> None:
    digest = store.put_blob(b"hello")
    path = store.blob_path(digest)
    path.chmod(0o644)
    path.write_bytes(b"hell")
    for read in (store.read_blob, store.blob_path):
        with pytest.raises(IntegrityError, match="expected content"):
            read(digest)
    store.put_blob(b"hello")
    assert store.read_blob(digest) == b"hello"


def test_the_first_result_wins(store: Store) -> None:
    assert store.result(KEY) is None
    assert store.put_result(KEY, {"n": 1}) == {"n": 1}
    assert store.put_result(KEY, {"n": 2}) == {"n": 1}
    assert store.result(KEY) == {"n": 1}


def test_a_record_moves_by_compare_and_set(store: Store) -> None:
    assert store.timing(KEY) == (0, {})
    assert store.move_timing(KEY, 0, {"cache": "a"})
    assert not store.move_timing(KEY, 0, {"cache": "b"}), "another came first"
    assert store.timing(KEY) == (1, {"cache": "a"})
    assert store.move_timing(KEY, 1, {"cache": "b"})
    assert store.timing(KEY) == (2, {"cache": "b"})
    assert store.timing(digest_bytes(b"other")) == (0, {})
    with pytest.raises(FormatError, match="expected one outside"):
        store.put_file("timing/x", b"")


def test_of_racing_moves_each_number_goes_to_one(store: Store) -> None:
    def move(n: int) -> bool:
        return store.move_timing(KEY, 0, {"n": n})

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(move, range(16))) == 1


def test_versions_count_and_the_same_content_makes_none(store: Store) -> None:
    first = store.publish("m", b"one", b"sig")
    assert (first.number, first.created) == (1, True)
    assert store.publish("m", b"two", b"sig").number == 2
    again = store.publish("m", b"one", b"sig")
    assert (again.number, again.created) == (1, False)
    assert store.versions("m") == [first, Version("m", 2, digest_bytes(b"two"))]
    assert store.read_index(first) == (b"one", b"sig")
    assert store.names() == ["m"]


def test_references(store: Store) -> None:
    first = store.publish("m", b"one", b"sig")
    second = store.publish("m", b"two", b"sig")
    store.set_alias("m", "latest", 2)
    store.set_alias("m", "prod", 1)
    for reference, version in (
        ("m", second), ("m:latest", second), ("m:prod", first), ("m@1", first),
        (f"m@{second.digest}", second),
    ):  # fmt: skip
        assert store.resolve(reference) == version
    assert store.aliases("m") == {"latest": 2, "prod": 1}
    for reference, message in (
        (
            "m@7",
            r"no version 7 of 'm'; it has versions \[1, 2\] and aliases latest -> 2, prod -> 1",
        ),
        ("m:dev", "no alias 'dev'"),
        (f"m@{KEY}", "no index sha256"),
        ("n", "no bundle 'n'; it has: m"),
    ):
        with pytest.raises(NotFoundError, match=message):
            store.resolve(reference)
    for reference in ("m@0", "m@x", "../m", "m:../x", "", "m@1:x"):
        with pytest.raises(FormatError):
            store.resolve(reference)


def test_an_alias_moves_by_compare_and_set(store: Store) -> None:
    store.publish("m", b"one", b"sig")
    store.publish("m", b"two", b"sig")
    store.set_alias("m", "prod", 1, expected=0)
    with pytest.raises(ConflictError, match="points at version 1, expected none"):
        store.set_alias("m", "prod", 2, expected=0)
    store.set_alias("m", "prod", 2, expected=1)
    store.set_alias("m", "prod", 1)
    assert store.resolve("m:prod").number == 1
    with pytest.raises(NotFoundError, match="no version 9"):
        store.set_alias("m", "prod", 9)


def test_evidence_accumulates(store: Store) -> None:
    version = store.publish("m", b"one", b"sig")
    target = Target.parse("rtx:sm_80+sm_86")
    assert store.evidence(version) == []
    store.put_evidence(version, target, b"bad", b"sig1")
    store.put_evidence(version, target, b"good", b"sig2")
    store.put_evidence(version, target, b"good", b"sig2")
    assert sorted(store.evidence(version)) == [(b"bad", b"sig1"), (b"good", b"sig2")]


def test_documents_are_mutable_and_stay_out_of_what_is_not(store: Store) -> None:
    assert store.get_file("runs/1/results.json") is None
    store.put_file("runs/1/results.json", b"1")
    store.put_file("runs/1/results.json", b"2")
    store.put_file("runs/1/logs/a.log", b"x")
    assert store.get_file("runs/1/results.json") == b"2"
    assert store.list_files("runs/1") == ["runs/1/logs/a.log", "runs/1/results.json"]
    for path in ("blobs/x", "bundles/m/versions/1.json", "../x", "/etc/passwd", "runs//x", "a\\b"):
        with pytest.raises(FormatError):
            store.put_file(path, b"")


def test_racing_publishers_share_out_the_numbers(store: Store) -> None:
    def publish(number: int) -> Version:
        return Store.open(store.uri).publish("m", b"index %d" % (number // 2), b"sig")

    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(publish, range(24)))
    assert sorted({v.number for v in versions}) == list(range(1, 13))
    assert len({v.digest for v in versions}) == 12
    assert store.versions("m") == sorted(set(versions), key=lambda v: v.number)


def _publish(uri: str, number: int) -> tuple[int, int]:
    store = Store.open(uri)
    record = store.put_result(KEY, {"by": number})
    return store.publish("m", b"index %d" % number, b"sig").number, record["by"]


def test_racing_processes_share_out_the_numbers(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        done = list(pool.map(_publish, [store.uri] * 8, range(8)))
    assert sorted(number for number, _ in done) == list(range(1, 9))
    assert len({winner for _, winner in done}) == 1
    leftovers = [p for p in Path(store.uri).rglob("*") if p.name.startswith(".tmp-")]
    assert leftovers == []
