"""Single faults on a real server: what a store does comes out as without them, or as one error in time."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from enginebundle.errors import StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.store import Store
from orchestrator import cli
from tests.s3.conftest import FAULTS, address
from tests.s3.proxy import Proxy
from tests.s3.seaweed import BUCKET, Server

pytestmark = pytest.mark.slow
KEY = digest_bytes(b"key")


def session(own: Store) -> list[object]:
    """A little of everything, and what each answered."""
    blob = own.put_blob(b"blob")
    return [
        blob, own.read_blob(blob), own.put_result(KEY, {"n": 1}), own.put_result(KEY, {"n": 2}),
        str(own.publish("m", b"one", b"sig")), own.set_alias("m", "prod", 1, expected=0), own.aliases("m"),
        own.claim_key(KEY, 1, {"id": "me"}), own.beat_key(KEY, 1, {"id": "me"}, {"id": "me", "beat": 1}),
        own.key_lease(KEY), own.release_key(KEY, 1), own.key_lease(KEY), own.put_file("runs/1/a", b"1"),
        own.get_file("runs/1/a"), own.list_files("runs"),
    ]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_any_request_may_meet_a_fault(
    store: Store, prefix: str, server: Server, proxy: Proxy, fault: str
) -> None:
    wanted = session(store)

    def run(name: str) -> list[object]:
        uri = address(f"{prefix}-{name}", proxy.port)
        return session(Store.open(uri, create=True))

    asked: list[str] = []
    proxy.plan = lambda method, path: asked.append(path) or ""
    assert run("plain") == wanted
    for target in range(0, len(asked), 3):
        turns = itertools.count()
        proxy.plan = lambda method, path, t=turns, at=target: fault if next(t) == at else ""
        assert run(f"at-{target}") == wanted, f"{fault} at request {target}"
        assert proxy.happened.pop()[0] == fault
        assert not proxy.happened


def test_a_large_blob_comes_and_goes_in_parts(store: Store, through: str, proxy: Proxy) -> None:
    content = os.urandom(36 << 20)
    faults = iter(["", "lose", "", "503", "drop", "", "500", ""])
    proxy.plan = lambda method, path: next(faults, "") if "partNumber" in path else ""
    digest = Store.open(through).put_blob(content)
    assert {fault for fault, _, _ in proxy.happened} == {"lose", "503", "drop", "500"}
    assert store.read_blob(digest) == content
    cuts = iter(["cut", "", "cut", ""])
    proxy.plan = lambda method, path: next(cuts, "") if method == "GET" and "blobs" in path else ""
    assert Store.open(through).read_blob(digest) == content
    assert [fault for fault, _, _ in proxy.happened].count("cut") == 2


def test_results_that_were_deleted_stay_deleted(store: Store, prefix: str, server: Server) -> None:
    for n in range(3):
        store.put_result(digest_bytes(b"%d" % n), {"n": 1})
    raw = server.raw()
    listed = raw.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/results/")["Contents"]
    assert len(listed) == 3
    for one in listed:
        raw.delete_object(Bucket=BUCKET, Key=one["Key"])
    for n in range(3):
        assert store.result(digest_bytes(b"%d" % n)) is None
        assert store.put_result(digest_bytes(b"%d" % n), {"n": 2}) == {"n": 2}


def test_nothing_lies_beside_the_content(store: Store, prefix: str, server: Server) -> None:
    session(store)
    listed = server.raw().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")["Contents"]
    folders = [one["Key"].removeprefix(f"{prefix}/").split("/")[0] for one in listed]
    assert sorted(folders) == ["blobs"] * 3 + ["bundles"] * 2 + ["results", "runs", "store.json"]


@pytest.mark.parametrize("fault", ["silence", "503"])
def test_a_store_that_does_not_answer_is_one_error_within_thirty_seconds(
    store: Store, through: str, proxy: Proxy, fault: str
) -> None:
    store.put_result(KEY, {"n": 1})
    own = Store.open(through)
    storage = own.storage
    asks: list[Callable[[], object]] = [
        lambda: Store.open(through), lambda: storage.put("runs/a", b"1"), lambda: own.put_result(KEY, {"n": 2}),
        lambda: storage.replace("store.json", b"1", b"2"), lambda: storage.files("runs"),
        lambda: storage.children("runs"), lambda: storage.remove("runs/a"), lambda: storage.size("runs/a"),
    ]  # fmt: skip
    proxy.plan = lambda method, path: fault

    def ask(one: Callable[[], object]) -> float:
        start = time.monotonic()
        with pytest.raises(
            StoreError, match=r"no answer in time|503 Service Unavailable"
        ) as raised:
            one()
        assert "\n" not in str(raised.value)
        return time.monotonic() - start

    with ThreadPoolExecutor(len(asks)) as pool:
        seconds = list(pool.map(ask, asks))
    assert max(seconds) < 30 + 3, "the promise of docs/operations.md, and what a busy machine adds"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_a_line_and_exit_code_3(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str, value: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(name, value)
    for command in (["list"], ["gc"], ["status"]):
        assert cli.main([*command, "--store", store.uri]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("kiln: StoreError: ")
        assert said in line


def test_a_bucket_that_is_not_there_is_a_line_and_exit_code_3(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list", "--store", address("x", server.port, "no-such-bucket")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "NoSuchBucket" in line
