"""What a store in an object store promises: who comes first, what silence and lost answers mean."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enginebundle.errors import ConflictError, StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage import address
from enginebundle.storage import remote as remote_module
from enginebundle.storage.base import Storage
from enginebundle.storage.store import Store
from tests.enginebundle.standin import KEYS, StandIn

KEY = digest_bytes(b"key")
RESULT = f"results/{KEY[7:9]}/{KEY[7:]}.json"


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest) -> Storage:
    kind = "store" if request.param == "folder" else "remote"
    found: Store = request.getfixturevalue(kind)
    return found.storage


def test_only_the_first_creates(storage: Storage) -> None:
    assert storage.create("a/b", b"one") == b"one"
    assert storage.create("a/b", b"two") == b"one" == storage.get("a/b")
    storage.remove("a/b")
    assert storage.create("a/b", b"two") == b"two", "what was removed is gone"


def test_replace_compares(storage: Storage) -> None:
    assert not storage.replace("a/b", b"", b"new"), "what is absent equals nothing"
    assert storage.get("a/b") is None
    storage.put("a/b", b"one")
    assert not storage.replace("a/b", b"other", b"two")
    assert storage.replace("a/b", b"one", b"two")
    assert storage.replace("a/b", b"one", b"two"), "asked for again, after a lost answer"
    assert storage.get("a/b") == b"two"


def test_no_replacement_is_lost(storage: Storage) -> None:
    storage.put("a/n", b"0")

    def count(_: int) -> None:
        for _ in range(5):
            while True:
                last = storage.get("a/n") or b""
                if storage.replace(
                    "a/n", last, b"%d by %d" % (int(last.split()[0]) + 1, threading.get_ident())
                ):
                    break

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert (storage.get("a/n") or b"").split()[0] == b"20"


def test_one_of_many_creates(storage: Storage) -> None:
    for slot in range(5):
        with ThreadPoolExecutor(6) as pool:
            got = list(pool.map(lambda n, s=slot: storage.create(f"a/{s}", b"%d" % n), range(6)))
        assert set(got) == {storage.get(f"a/{slot}")}


def test_one_of_many_moves_an_alias(remote: Store) -> None:
    for index in range(6):
        remote.publish("m", b"%d" % index, b"sig")

    def move(number: int) -> bool:
        try:
            Store.open(remote.uri).set_alias("m", "prod", number, expected=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        moved = list(pool.map(move, range(1, 7)))
    assert moved.count(True) == 1
    assert remote.aliases("m") == {"prod": moved.index(True) + 1}


def test_a_deleted_result_stays_deleted(remote: Store) -> None:
    assert remote.put_result(KEY, {"n": 1}) == {"n": 1}
    remote.storage.remove(RESULT)
    assert remote.result(KEY) is None
    assert remote.put_result(KEY, {"n": 2}) == {"n": 2} == remote.result(KEY)


def test_results_deleted_by_other_tools_stay_deleted(remote: Store, endpoint: str) -> None:
    remote.put_result(KEY, {"n": 1})
    _raw(remote, endpoint).delete_object(Bucket=_bucket(remote), Key=f"farm/store/{RESULT}")
    assert remote.put_result(KEY, {"n": 2}) == {"n": 2}


def test_nothing_is_noted_beside_the_content(remote: Store, endpoint: str) -> None:
    digest = remote.put_blob(b"hello")
    remote.put_result(KEY, {"n": 1})
    remote.publish("m", b"one", b"sig")
    remote.set_alias("m", "prod", 1)
    assert remote.claim_key(KEY, 1, {"id": "me"})
    listed = _raw(remote, endpoint).list_objects_v2(Bucket=_bucket(remote))["Contents"]
    keys = {one["Key"].removeprefix("farm/store/") for one in listed}
    blobs = {
        f"blobs/sha256/{d[7:9]}/{d[7:]}"
        for d in (digest, digest_bytes(b"one"), digest_bytes(b"sig"))
    }
    assert keys == blobs | {
        "store.json", RESULT, "bundles/m/versions/1.json", "bundles/m/aliases/prod/1.json",
        f"leases/keys/{KEY[7:]}/1.json",
    }  # fmt: skip


def test_a_create_is_one_request(remote: Store, server: StandIn) -> None:
    remote.put_result(digest_bytes(b"first"), {"n": 1})
    server.requests.clear()
    remote.put_result(KEY, {"n": 1})
    assert [line.split()[0] for line in server.requests] == ["PUT"]


def test_notes_of_older_stores_say_nothing(remote: Store) -> None:
    note = b'{"accepted":[1,"dead"],"ballot":[1,"dead"],"value":"{\\"n\\":1}"}'
    remote.storage.put(f"agreements/{RESULT}/dead.00000001", note)
    assert remote.put_result(KEY, {"n": 2}) == {"n": 2}


def test_an_answer_that_was_lost_is_found(remote: Store, server: StandIn) -> None:
    """A write is carried out, and its answer lost: repeated, it is refused, and yet it is ours."""
    lost = 0

    def lose(environ: dict[str, Any], carry_out: Callable[[], bytes]) -> bytes:
        nonlocal lost
        body = carry_out()
        if environ["REQUEST_METHOD"] in ("PUT", "DELETE") and lost < 3:
            lost += 1
            raise RuntimeError
        return body

    server.fault = lose
    assert remote.put_result(KEY, {"n": 1}) == {"n": 1}
    assert lost == 3
    lost = 0
    assert remote.storage.replace(RESULT, b'{"n":1}', b'{"n":2}')
    lost = 0
    remote.storage.remove(RESULT)
    assert lost == 3
    assert remote.result(KEY) is None


def test_a_server_that_is_busy_is_asked_again(remote: Store, server: StandIn) -> None:
    turns: Iterator[int] = iter(range(4))

    def busy(environ: dict[str, Any], carry_out: Callable[[], bytes]) -> bytes:
        if next(turns, None) is not None:
            raise RuntimeError
        return carry_out()

    server.fault = busy
    assert remote.put_result(KEY, {"n": 1}) == {"n": 1}


def test_a_server_that_overlooks_conditions_is_refused(remote: Store, server: StandIn) -> None:
    def overlook(environ: dict[str, Any], carry_out: Callable[[], bytes]) -> bytes:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return carry_out()

    server.fault = overlook
    with pytest.raises(StoreError, match="overlooks If-None-Match"):
        Store.open(remote.uri).put_result(KEY, {"n": 1})


def test_a_large_object_is_read_in_pieces_of_one_content(
    remote: Store, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "_PIECE", 1 << 20)
    old, new = os.urandom(12 << 20), os.urandom(12 << 20)
    remote.storage.put("runs/x", memoryview(old))
    assert remote.storage.get("runs/x") == old
    ranges = 0

    def change(environ: dict[str, Any], carry_out: Callable[[], bytes]) -> bytes:
        nonlocal ranges
        ranges += "HTTP_RANGE" in environ
        if ranges == 5:
            ranges += 1
            server.fault = None
            Store.open(remote.uri).storage.put("runs/x", new)
            server.fault = change
        return carry_out()

    server.fault = change
    assert remote.storage.get("runs/x") == new
    assert ranges > 12


def test_folders_that_other_tools_made_objects_are_no_files(remote: Store, endpoint: str) -> None:
    remote.put_file("runs/1/a", b"1")
    raw = _raw(remote, endpoint)
    for folder in ("", "runs/", "runs/1/"):
        raw.put_object(Bucket=_bucket(remote), Key=f"farm/store/{folder}", Body=b"")
    assert remote.storage.files("runs/1") == ["runs/1/a"]
    assert remote.storage.children("runs/1") == ["a"]
    assert remote.storage.children("runs") == ["1"]


def test_a_stray_object_that_can_not_be_named_is_said(remote: Store, endpoint: str) -> None:
    _raw(remote, endpoint).put_object(Bucket=_bucket(remote), Key="farm/store/runs//a", Body=b"")
    with pytest.raises(StoreError, match=r"can't list runs: .*farm/store/runs//a") as raised:
        remote.list_files("runs")
    assert "\n" not in str(raised.value)


def test_wrong_keys_are_said_in_a_line(remote: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(StoreError, match=r"InvalidAccessKeyId.*credentials") as raised:
        Store.open(remote.uri)
    assert "\n" not in str(raised.value)


def test_no_keys_are_said_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="no credentials for S3: set AWS_ACCESS_KEY_ID"):
        Store.open("s3://bucket/x")


def test_the_keys_of_a_profile_are_used(
    remote: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n"
        "[farm]\naws_access_key_id = test\naws_secret_access_key = test\n"
    )
    (tmp_path / ".aws" / "config").write_text("[profile farm]\nregion = eu-west-1\n[profile sso]\n")
    monkeypatch.setenv("AWS_PROFILE", "farm")
    assert Store.open(remote.uri).names() == []
    monkeypatch.setenv("AWS_PROFILE", "sso")
    with pytest.raises(StoreError, match=r"profile 'sso' holds no keys.*export-credentials"):
        Store.open(remote.uri)


@pytest.mark.parametrize("what", ["silence", "half an answer", "nobody"])
def test_a_server_that_does_not_answer_is_one_error(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(address, "SILENCE", 0.3)
    monkeypatch.setattr(address, "RETRIES", 0.2)
    monkeypatch.setattr(remote_module, "PATIENCE", 0.5)
    half = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nLast-Modified: Mon, 30 Nov 2026 01:00:00 GMT\r\n'
    half += b"Content-Length: 9\r\n\r\nab"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connections = []

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                if what == "half an answer":
                    connection.recv(1 << 16)
                    connection.sendall(half)

        thread = threading.Thread(target=answer, daemon=True)
        if what == "nobody":
            listener.close()
        else:
            thread.start()
        storage = remote_module.RemoteStorage(
            f"s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        )
        said = "no connection" if what == "nobody" else "no answer in time"
        asks = [lambda: storage.get("a"), lambda: storage.replace("a", b"1", b"2")]
        if what != "half an answer":  # a write needs no more than that
            asks += [
                lambda: storage.create("a", b"1"),
                lambda: storage.remove("a"),
                lambda: storage.files("a"),
            ]
        for ask in asks:
            with pytest.raises(StoreError, match=f"can't [a-z]+ a: {said}. Check"):
                ask()
        if what != "nobody":
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/x?nonsense=1", "s3://bucket/x?region", "s3://a b/c", "s3://[::1]/x", "s3://bucket/../x",
        "s3://bucket/a//b", "s3://key:secret@bucket/x", "s3://bucket:80/x", "s3://b/x", "gs://bucket/x?region=y",
        "s3://bucket/x?scheme=ftp", "s3://bucket/x?endpoint_override=%zz", "s3://bucket/x?endpoint_override=",
        "s3://bucket/x?endpoint_override=http://host", "gs://bucket/x?endpoint_override=a%20b",
    ],
)  # fmt: skip
def test_an_address_of_nothing_is_refused_before_any_request(uri: str) -> None:
    with pytest.raises(
        StoreError, match=r"Expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
    ) as raised:
        remote_module.RemoteStorage(uri)
    assert "\n" not in str(raised.value)


def _bucket(store: Store) -> str:
    return store.uri.split("/")[2]


def _raw(store: Store, endpoint: str) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
