"""Blobs by digest: right content, or a refusal that names it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from enginebundle.errors import IntegrityError, NotFoundError, UnreadableError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.base import Storage
from enginebundle.storage.blobs import BlobStore
from enginebundle.storage.local import LocalStorage

HELLO = digest_bytes(b"hello")
HEX = HELLO.removeprefix("sha256:")
PATH = f"blobs/sha256/{HEX[:2]}/{HEX}"


class Elsewhere(LocalStorage):
    """A storage that has no paths on this machine's disk, as one behind a network."""

    def local(self, path: str) -> Path | None:
        return None


def blobs(storage: Storage) -> BlobStore:
    return BlobStore("store://here", storage)


@pytest.fixture(params=[LocalStorage, Elsewhere])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStorage:
    kind: type[LocalStorage] = request.param
    return kind(tmp_path / "store")


def test_a_blob_lies_under_its_digest(files: LocalStorage, tmp_path: Path) -> None:
    store = blobs(files)
    (tmp_path / "file").write_bytes(b"hello")
    for data in (b"hello", memoryview(b"hello"), tmp_path / "file"):
        assert store.put_blob(data) == HELLO
    assert files.files("blobs") == [PATH]
    assert files.get(PATH) == b"hello"
    assert store.read_blob(HELLO) == b"hello"
    assert store.blob_path(HELLO).read_bytes() == b"hello"
    assert store.check_blob(HELLO)


@pytest.mark.parametrize("there", ["out", "in", "broken", "pipe"])
def test_a_blob_that_is_a_link_counts_if_it_can_be_read(
    files: LocalStorage, tmp_path: Path, there: str
) -> None:
    """As deduplicated stores have them."""
    store = blobs(files)
    place = (tmp_path if there == "out" else files.root) / "kept"
    (files.root / PATH).parent.mkdir(parents=True)
    if there == "pipe":
        os.mkfifo(place)
    elif there != "broken":
        place.write_bytes(b"hello")
    (files.root / PATH).symlink_to(place)
    assert store.has_blob(HELLO, 5) == (there == "in")
    assert store.check_blob(HELLO) == (there == "in")
    assert store.put_blob(b"hello") == HELLO
    assert store.has_blob(HELLO, 5)
    assert store.read_blob(HELLO) == b"hello"
    assert (files.root / PATH).is_symlink() == (there == "in")
    assert place.exists() == (there != "broken")


def test_a_blob_is_there_with_its_size_or_not(files: LocalStorage) -> None:
    store = blobs(files)
    assert (store.has_blob(HELLO), store.blob_size(HELLO)) == (False, None)
    assert not store.check_blob(HELLO)
    store.put_blob(b"hello")
    assert (store.has_blob(HELLO), store.blob_size(HELLO)) == (True, 5)
    assert store.has_blob(HELLO, 5)
    assert not store.has_blob(HELLO, 4)
    empty = store.put_blob(b"")
    assert store.has_blob(empty)
    assert store.has_blob(empty, 0)
    assert not store.has_blob(empty, 5)


def test_what_is_put_again_counts_as_used_now(files: LocalStorage) -> None:
    store = blobs(files)
    store.put_blob(b"hello")
    os.utime(files.root / PATH, (1000, 1000))
    inode = (files.root / PATH).stat().st_ino
    store.put_blob(b"hello")
    assert (files.root / PATH).stat().st_mtime > 1e9
    assert (files.root / PATH).stat().st_ino == inode, "it was not written again"


@pytest.mark.parametrize("wrong", [b"hellO", b"hell", b""])
def test_other_content_is_set_aside_and_told(
    wrong: bytes, files: LocalStorage, caplog: pytest.LogCaptureFixture
) -> None:
    store = blobs(files)
    store.put_blob(b"hello")
    files.put(PATH, wrong)
    for read in (store.read_blob, store.blob_path):
        with pytest.raises(
            IntegrityError, match=f"expected content {HELLO}, got {digest_bytes(wrong)}"
        ):
            read(HELLO)
    aside = f"damaged/{HEX}/{digest_bytes(wrong).removeprefix('sha256:')}"
    with caplog.at_level(logging.WARNING):
        assert not store.check_blob(HELLO)
    (record,) = caplog.records
    told = record.getMessage()
    assert told == f"store store://here: blob {HELLO} had other content, now in {aside}"
    assert files.get(aside) == wrong
    assert files.get(PATH) is None
    files.put(PATH, wrong)
    assert store.put_blob(b"hello") == HELLO
    assert store.read_blob(HELLO) == b"hello"


def test_a_missing_blob_is_named_with_its_store(files: LocalStorage) -> None:
    store = blobs(files)
    for read in (store.read_blob, store.blob_path):
        with pytest.raises(NotFoundError) as caught:
            read(HELLO)
        assert str(caught.value) == (
            f"store store://here has no blob {HELLO}; publish or copy it again"
        )


def test_wrong_content_is_told_with_its_place(tmp_path: Path) -> None:
    files = LocalStorage(tmp_path / "store")
    files.put(PATH, b"hell")
    got = digest_bytes(b"hell")
    with pytest.raises(IntegrityError) as caught:
        blobs(files).read_blob(HELLO)
    assert str(caught.value) == (
        f"expected content {HELLO}, got {got}: 4 bytes in store store://here. Copy it again"
    )
    with pytest.raises(IntegrityError) as caught:
        blobs(files).blob_path(HELLO)
    assert str(caught.value) == (
        f"expected content {HELLO}, got {got}: {files.root / PATH}. Copy it again"
    )


def test_a_download_is_kept_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Elsewhere(tmp_path / "store")
    store = blobs(files)
    store.put_blob(b"hello")
    path = store.blob_path(HELLO)
    assert path == tmp_path / "cache" / PATH
    inode = path.stat().st_ino
    assert store.blob_path(HELLO).stat().st_ino == inode, "it was not downloaded again"
    path.write_bytes(b"hell")
    assert store.blob_path(HELLO).read_bytes() == b"hello"
    files.remove(PATH)
    assert store.blob_path(HELLO).read_bytes() == b"hello"
    monkeypatch.delenv("ENGINEBUNDLE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    store.put_blob(b"hello")
    assert store.blob_path(HELLO) == tmp_path / "user" / ".cache" / "enginebundle" / PATH


@pytest.mark.parametrize("content", [b"x", b"weights", b"0" * 70_000])
def test_a_blob_is_read_up_to_its_limit(content: bytes, files: LocalStorage) -> None:
    store = blobs(files)
    digest = store.put_blob(content)
    assert store.read_blob(digest) == store.read_blob(digest, len(content)) == content
    with pytest.raises(UnreadableError):
        store.read_blob(digest, len(content) - 1)
