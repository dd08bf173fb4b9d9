"""Opening a store by its address, results by key, and files beside them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from enginebundle.errors import FormatError, NotFoundError, StoreError, UnreadableError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.reading import SMALL
from enginebundle.storage.store import Store, is_store

KEY, OTHER = digest_bytes(b"key"), digest_bytes(b"other")
HEX = KEY.removeprefix("sha256:")


def root(store: Store) -> Path:
    assert isinstance(store.storage, LocalStorage)
    return store.storage.root


def test_a_store_is_found_by_each_of_its_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my store"
    made = Store.open(folder, create=True)
    assert (folder / "store.json").read_bytes() == b'{"format":"enginebundle.store/1"}'
    assert repr(made) == f"Store({str(folder)!r})"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spelled = str(folder).replace(" ", "%20")
    for uri in (
        str(folder), "my store", "./my store", "~/my store", f"file://{spelled}",
        f"file://localhost{spelled}",
    ):  # fmt: skip
        found = Store.open(uri)
        assert root(found).resolve() == folder
        assert found.uri == uri
    relative = Store.open("my store")
    monkeypatch.chdir("/")
    relative.put_file("runs/x", b"1")
    assert (folder / "runs" / "x").read_bytes() == b"1", "where it was opened, not where we went"


@pytest.mark.parametrize(
    "uri",
    [
        "", "http://host/store", "https:store", "s3:bucket", "gs:bucket", "gcs:x", "file:x", "ftp://host/x",
        "file://", "file://host/store", "s3://", "gs:///x", "gcs://", "s3://[x", "file://[x/y",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_with_what_was_expected(uri: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(uri, create=True)
    assert str(caught.value) == f"store {uri!r}: expected a folder, file://, s3:// or gs://"


@pytest.mark.parametrize("scheme", ["s3", "gs", "gcs"])
def test_what_is_wrong_in_a_buckets_address_is_told_before_any_request(scheme: str) -> None:
    uri = f"{scheme}://bucket/x?nonsense=1"
    with pytest.raises(StoreError) as caught:
        Store.open(uri)
    assert str(caught.value).startswith(f"store {uri}: no option 'nonsense'")


def test_a_folder_that_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        Store.open(tmp_path)
    assert str(caught.value) == f"no store at {tmp_path}: it has no store.json. Check the path"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "store.json").write_bytes(b"{")
    with pytest.raises(FormatError, match=r"^store.json is not JSON"):
        Store.open(tmp_path, create=True)
    (tmp_path / "store.json").write_bytes(b'{"format":"enginebundle.store/9"}' + b" " * 300)
    with pytest.raises(
        FormatError, match=rf"^store {tmp_path}: expected .*store/1.* in store.json"
    ) as e:
        Store.open(tmp_path, create=True)
    assert " " * 100 in str(e.value)
    assert " " * 200 not in str(e.value)


def test_of_two_results_the_first_counts_until_it_is_replaced(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.result(KEY) is None
    with caplog.at_level(logging.WARNING):
        assert store.put_result(KEY, {"n": 1}) == {"n": 1}
    assert not caplog.records, "what is new is not damaged"
    assert store.put_result(KEY, {"n": 2}) == {"n": 1}
    assert store.result(KEY) == {"n": 1}
    assert store.result(OTHER) is None
    assert store.replace_result(KEY, {"n": 3}) == {"n": 3}
    assert store.result(KEY) == {"n": 3}
    assert store.storage.files("results") == [f"results/{HEX[:2]}/{HEX}.json"]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_result_counts_as_none_and_is_told_and_replaced(
    damaged: bytes, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"results/{HEX[:2]}/{HEX}.json"
    store.storage.put(path, damaged)
    with caplog.at_level(logging.WARNING):
        assert store.result(KEY) is None
    (record,) = caplog.records
    told = record.getMessage()
    assert told.startswith(f"store {store.uri}: a damaged result counts as none: {path}")
    with caplog.at_level(logging.WARNING):
        assert store.put_result(KEY, {"n": 1}) == {"n": 1}
    assert path in caplog.records[-1].getMessage()
    assert store.result(KEY) == {"n": 1}


@pytest.mark.parametrize(
    "folder",
    [
        "agreements",
        "blobs",
        "bundles",
        "damaged",
        "leases",
        "results",
        "revoked",
        "timing",
        "store.json",
    ],
)
def test_files_stay_out_of_what_has_its_own_rules(folder: str, store: Store) -> None:
    for path in (folder, f"{folder}/x", f"{folder}/x/y"):
        for use in (
            lambda: store.put_file(path, b""),  # noqa: B023
            lambda: store.get_file(path),  # noqa: B023
            lambda: store.list_files(path),  # noqa: B023
        ):
            with pytest.raises(FormatError) as caught:
                use()
            assert str(caught.value) == (
                f"path {path!r}: expected one outside agreements, blobs, bundles, damaged, leases, "
                "results, revoked, timing, store.json"
            )
    store.put_file(f"runs/{folder}", b"1")
    assert store.get_file(f"runs/{folder}") == b"1"


def test_files_are_listed_with_or_without_a_slash(store: Store) -> None:
    for path in ("runs/b", "runs/a/c", "other/d"):
        store.put_file(path, b"")
    store.put_file("runsX/b", b"")
    assert store.list_files("runsX") == ["runsX/b"]
    assert store.list_files("runs") == store.list_files("runs/") == ["runs/a/c", "runs/b"]
    assert store.list_files("no") == []
    with pytest.raises(FormatError):
        store.list_files("/runs")
    store.put_file("runs/b", b"2")
    assert store.get_file("runs/b") == b"2"
    assert store.get_file("runs/no") is None


def test_a_file_is_read_up_to_its_limit(store: Store) -> None:
    store.put_file("runs/r1/log", b"12345")
    assert store.get_file("runs/r1/log") == store.get_file("runs/r1/log", 5) == b"12345"
    with pytest.raises(UnreadableError):
        store.get_file("runs/r1/log", 4)
    assert store.get_file("runs/r1/none", 4) is None


def test_a_marker_beyond_its_limit_marks_no_store(store: Store) -> None:
    marker = root(store) / "store.json"
    content = marker.read_bytes()
    marker.write_bytes(content.ljust(SMALL))
    assert Store.open(store.uri).names() == []
    marker.write_bytes(content.ljust(SMALL + 1))
    with pytest.raises(UnreadableError):
        Store.open(store.uri)


def test_a_folder_is_a_store_if_a_file_marks_it(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert is_store(root(store))
    assert not is_store(folder)
    folder.mkdir()
    assert not is_store(folder)
    (folder / "store.json").mkdir()
    assert not is_store(folder)
