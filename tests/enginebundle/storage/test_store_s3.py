"""A store on S3, served by a real S3 server on loopback."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebundle.errors import ConflictError, IntegrityError, NotFoundError, StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.store import Store, Version

KEY = digest_bytes(b"key")


def test_everything_a_store_does(remote: Store, tmp_path: Path) -> None:
    digest = remote.put_blob(b"hello")
    assert remote.put_blob(b"hello") == digest
    assert remote.has_blob(digest)
    assert not remote.has_blob(KEY)
    assert remote.read_blob(digest) == b"hello"
    with pytest.raises(NotFoundError, match="has no blob"):
        remote.read_blob(KEY)
    assert remote.put_result(KEY, {"n": 1}) == {"n": 1}
    assert remote.put_result(KEY, {"n": 2}) == {"n": 1} == remote.result(KEY)
    assert remote.move_timing(KEY, 0, {"cache": digest})
    assert not remote.move_timing(KEY, 0, {"cache": KEY})
    assert remote.timing(KEY) == (1, {"cache": digest})
    first = remote.publish("m", b"one", b"sig")
    second = remote.publish("m", b"two", b"sig")
    assert [first.number, second.number] == [1, 2]
    assert not remote.publish("m", b"one", b"sig").created
    assert remote.versions("m") == [first, second]
    remote.set_alias("m", "prod", 2, expected=0)
    with pytest.raises(ConflictError):
        remote.set_alias("m", "prod", 1, expected=1)
    assert remote.resolve("m:prod") == second
    assert remote.names() == ["m"]
    remote.put_file("runs/1/a.json", b"1")
    remote.put_file("runs/1/logs/b.log", b"2")
    assert remote.list_files("runs/1") == ["runs/1/a.json", "runs/1/logs/b.log"]
    assert remote.get_file("runs/1/a.json") == b"1"
    assert remote.get_file("runs/2/a.json") is None


def test_a_blob_is_cached_and_the_cache_is_checked(remote: Store, tmp_path: Path) -> None:
    digest = remote.put_blob(b"hello")
    path = remote.blob_path(digest)
    assert path.is_relative_to(tmp_path / "cache")
    path.write_bytes(b"tampered")
    assert remote.blob_path(digest).read_bytes() == b"hello"


def test_a_flipped_byte_on_the_server_is_noticed(remote: Store) -> None:
    digest = remote.put_blob(b"hello")
    remote._storage.put(f"blobs/sha256/{digest[7:9]}/{digest[7:]}", b"hellp")
    with pytest.raises(IntegrityError, match="expected content"):
        remote.read_blob(digest)


def test_racing_publishers_share_out_the_numbers(remote: Store) -> None:
    def publish_one(number: int) -> tuple[Version, int]:
        store = Store.open(remote.uri)
        winner = store.put_result(KEY, {"by": number})["by"]
        return store.publish("m", b"index %d" % (number // 2), b"sig"), winner

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(publish_one, range(6)))
    assert sorted({version.number for version, _ in done}) == [1, 2, 3]
    assert len({version.digest for version, _ in done}) == 3
    assert {winner for _, winner in done} == {remote.result(KEY)["by"]}  # type: ignore[index]


def test_an_unreachable_bucket_is_an_error_with_a_remedy(remote: Store, endpoint: str) -> None:
    uri = f"s3://no-such-bucket/x?endpoint_override={endpoint}&scheme=http&region=us-east-1"
    with pytest.raises(StoreError, match=r"(?i)can't read .*NoSuchBucket.*Check the bucket"):
        Store.open(uri, create=True)
