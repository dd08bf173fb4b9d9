"""Files that are none, that lead elsewhere, or that are too large: known before they are read."""

from __future__ import annotations

import logging
import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import BundleError, UnreadableError
from enginebundle.format.digest import canonical_json, hexadecimal, parse_json
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.storage import proofs
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.trust import Trust
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU

HUGE = 2 << 30


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def listener(path: Path) -> None:
    """A socket, from elsewhere: its own path may be too long for one."""
    short = Path(f"/tmp/attack-{os.getpid()}")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(short))
    short.rename(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def outside(path: Path) -> None:
    place = Path(os.environ["ENGINEBUNDLE_HOME"]).parent / "secret"
    place.write_bytes(b"a secret of this machine")
    path.symlink_to(place)


INSTEAD = (fifo, device, folder, sparse, listener, loop, outside)


def places(victim: Victim) -> dict[str, Path]:
    """Every kind of file on the way of a load."""
    record = parse_json(victim.record.read_bytes())
    segment = victim.index.variants[0].parts[0].segments[0]
    return {
        "the store's marker": victim.root / "store.json",
        "a version": victim.record,
        "an alias": victim.root / "bundles/tiny/aliases/latest/1.json",
        "the index": victim.blob(record["index"]),
        "the signature": victim.blob(record["signature"]),
        "a graph": victim.blob(segment.blob),
        "weights": victim.blob(str(segment.weights)),
        "a golden": victim.blob(victim.index.goldens[0].blob),
    }


NEEDED = [
    "the store's marker", "a version", "an alias", "the index", "the signature", "a graph", "weights",
]  # fmt: skip


@pytest.mark.parametrize("make", INSTEAD)
@pytest.mark.parametrize("place", NEEDED)
def test_a_file_that_is_none(victim: Victim, place: str, make: Callable[[Path], None]) -> None:
    path = places(victim)[place]
    path.unlink()
    make(path)
    tracemalloc.start()
    with pytest.raises(BundleError) as caught:
        victim.load("tiny")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize("make", INSTEAD)
@pytest.mark.parametrize("number", ["2", "9007199254740991", "99999999999999999999", "x" * 200])
@pytest.mark.parametrize("kind", ["evidence", "heads"])
def test_a_stray_file_beside_evidence(
    victim: Victim, kind: str, number: str, make: Callable[[Path], None]
) -> None:
    (good,) = victim.root.glob(f"bundles/tiny/{kind}/*/torch-cpu/*.json")
    name = number if kind == "evidence" else (number * 64)[:64].replace("x", "0")
    make(good.with_name(f"{name}.json"))
    assert enginebundle.load(f"{victim.root}/tiny").target == CPU


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b'{"evidence":"sha256:0","signature":7}', b"0" * 70_000]
)
@pytest.mark.parametrize(
    "where", ["evidence", "heads", "versions", "aliases/latest", "aliases/next"]
)
def test_a_damaged_file_beside_good_ones(victim: Victim, where: str, content: bytes) -> None:
    place = victim.root / "bundles/tiny" / where
    stray = place / "9.json.bak" if where == "aliases/latest" else place / "9.json"
    if where in ("evidence", "heads"):
        place = next(place.glob("*/torch-cpu"))
        stray = place / ("9.json" if where == "evidence" else "9" * 64 + ".json")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(content)
    for reference in ("tiny", "tiny@1", f"tiny@{victim.index.digest}"):
        assert enginebundle.load(f"{victim.root}/{reference}").target == CPU


@pytest.mark.parametrize("which", ["evidence", "signature"])
def test_damaged_content_of_other_evidence(victim: Victim, which: str) -> None:
    blob = victim.store.put_blob(b"not what it was")
    (good,) = victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json")
    record = parse_json(good.read_bytes()) | {which: blob}
    victim.blob(blob).write_bytes(b"now something else")
    good.with_name("2.json").write_bytes(canonical_json(record))
    assert enginebundle.load(f"{victim.root}/tiny").target == CPU


def test_many_records_that_name_one_large_blob(victim: Victim) -> None:
    blob = victim.store.put_blob(b" " * (30 << 20))
    (good,) = victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json")
    record = canonical_json(parse_json(good.read_bytes()) | {"evidence": blob})
    for number in range(2, 60):
        good.with_name(f"{number}.json").write_bytes(record)
    tracemalloc.start()
    assert enginebundle.load(f"{victim.root}/tiny").target == CPU
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


class Counted(LocalStorage):
    """Counts what is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def get(self, path: str, limit: int | None = None) -> bytes | None:
        self.reads.append(path)
        return super().get(path, limit)


def test_evidence_is_read_newest_first_and_no_more_than_the_cap(victim: Victim) -> None:
    (good,) = victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json")
    for number in range(2, 1001):
        good.with_name(f"{number}.json").write_bytes(good.read_bytes())
    storage = Counted(victim.root)
    store = type(victim.store)(victim.store.uri, storage)
    store.evidence(store.resolve("tiny"))
    records = [path for path in storage.reads if "/evidence/" in path]
    assert len(records) == proofs.LATEST
    assert [int(Path(path).stem) for path in records] == list(range(1000, 1000 - proofs.LATEST, -1))
    assert len(storage.reads) <= 4 * proofs.LATEST


def test_evidence_is_read_up_to_its_size_together(victim: Victim) -> None:
    (good,) = victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json")
    record = parse_json(good.read_bytes())
    for number in range(2, 9):
        blob = victim.store.put_blob(bytes([number]) * (3 << 20))
        good.with_name(f"{number}.json").write_bytes(canonical_json(record | {"evidence": blob}))
    found = [data for data, _ in victim.store.evidence(victim.store.resolve("tiny"))]
    assert sum(map(len, found)) <= proofs.TOGETHER
    assert [data[0] for data in found if len(data) > 99_999] == [4, 5, 6, 7, 8]


def test_only_heads_of_trusted_keys_are_read(victim: Victim) -> None:
    (good,) = victim.root.glob("bundles/tiny/heads/*/torch-cpu/*.json")
    for number in range(300):
        good.with_name(f"{number:064x}.json").write_bytes(good.read_bytes())
    storage = Counted(victim.root)
    store = type(victim.store)(victim.store.uri, storage)
    assert Bundle.open(store, store.resolve("tiny")).states[CPU] == "validated"
    assert len([path for path in storage.reads if "/heads/" in path]) == 1


def test_only_targets_of_the_index_are_read(victim: Victim) -> None:
    (good,) = victim.root.glob("bundles/tiny/evidence/*/torch-cpu/*.json")
    for number in range(300):
        place = good.parents[1] / f"trt-sm_{number}" / "1.json"
        place.parent.mkdir()
        place.write_bytes(good.read_bytes())
    storage = Counted(victim.root)
    store = type(victim.store)(victim.store.uri, storage)
    assert Bundle.open(store, store.resolve("tiny")).states[CPU] == "validated"
    assert len([path for path in storage.reads if "/evidence/" in path]) == 1


def test_a_link_inside_the_store_is_fine(victim: Victim, tmp_path: Path) -> None:
    blob = victim.blob(victim.index.goldens[0].blob)
    kept = victim.root / "blobs/kept"
    blob.rename(kept)
    blob.symlink_to(kept)
    victim.store.read_blob(victim.index.goldens[0].blob)
    (tmp_path / "linked").symlink_to(victim.root)
    assert enginebundle.load(tmp_path / "linked" / "tiny").target == CPU


def test_a_folder_that_leads_out_of_the_store(victim: Victim, tmp_path: Path) -> None:
    """Reading, listing and writing through it are refused; a link can be removed, not what is behind it."""
    versions = victim.root / "bundles/tiny/versions"
    versions.rename(tmp_path / "elsewhere")
    versions.symlink_to(tmp_path / "elsewhere")
    files = LocalStorage(victim.root)
    path = "bundles/tiny/versions/1.json"
    for act in (
        lambda: files.get(path),
        lambda: files.put(path, b"x"),
        lambda: files.create("bundles/tiny/versions/2.json", b"x"),
        lambda: files.replace(path, b"", b"x"),
        lambda: files.children("bundles/tiny/versions"),
        lambda: files.files("bundles/tiny/versions"),
        lambda: files.entries("bundles/tiny/versions"),
        lambda: files.touch(path),
        lambda: files.remove(path),
        lambda: files.local(path),
    ):
        with pytest.raises(UnreadableError, match="a link that leads out"):
            act()
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["1.json"]
    files.remove("bundles/tiny/versions")
    assert not versions.is_symlink()
    assert (tmp_path / "elsewhere/1.json").exists()


@pytest.mark.parametrize("make", [fifo, device, sparse, outside])
def test_an_exports_marker_that_is_no_file(
    victim: Victim, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    copied = export(Bundle.open(victim.store, victim.store.resolve("tiny")), tmp_path / "copy")
    (copied / "bundle.json").unlink()
    make(copied / "bundle.json")
    with pytest.raises(BundleError):
        enginebundle.load(copied)


@pytest.mark.parametrize("make", INSTEAD)
def test_a_trusted_key_that_is_no_file(
    victim: Victim, home: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(home / "trusted" / "a.pub")
    with caplog.at_level(logging.WARNING):
        assert len(Trust.default().keys) == 1
    assert "a.pub is left out" in caplog.text
    victim.load()


def test_a_file_of_this_machines_memory_that_is_none_of_its_own(victim: Victim, home: Path) -> None:
    place = home / "seen" / hexadecimal(victim.index.digest) / "torch:cpu"
    for path in (
        place / "notes.txt",
        place / ("z" * 64) / "one",
        place.with_name("gpu") / "k" / "1",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert enginebundle.load(f"{victim.root}/tiny").target == CPU
