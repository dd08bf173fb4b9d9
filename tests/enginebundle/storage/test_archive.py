"""A store in one file: what is packed is read, and nothing else is."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch

import enginebundle
from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    StoreError,
    UnreadableError,
)
from enginebundle.format.digest import canonical_json
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export, export_file
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.archive import FORMAT, ArchiveStorage, is_archive, pack
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, expected, publish

FILES = {"a": b"1", "b/c": b"", "b/d/e.json": b"{}", "bb": b"xyz", "z": b"last"}


def write(file: Path, header: bytes, contents: bytes) -> Path:
    file.write_bytes(f"{FORMAT}\n".encode() + len(header).to_bytes(8, "little") + header + contents)
    return file


def header(files: object) -> bytes:
    return canonical_json({"format": FORMAT, "files": files})


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    pack(folder, tmp_path / "packed")
    return tmp_path / "packed"


def test_it_reads_as_the_folder_does(packed: Path, tmp_path: Path) -> None:
    one, other = ArchiveStorage(packed), LocalStorage(tmp_path / "folder")
    for path in (*FILES, "b", "none", "b/d", "b/none"):
        assert one.get(path) == (None if path in ("b", "b/d") else other.get(path))
        assert one.size(path) == other.size(path)
    for folder in ("b", "b/d", "a", "none"):
        assert one.files(folder) == ([] if folder == "a" else other.files(folder))
        assert one.children(folder) == other.children(folder)
        found = [(entry.path, entry.size) for entry in one.entries(folder)]
        assert found == ([] if folder == "a" else [(e.path, e.size) for e in other.entries(folder)])
    assert one.local("a") is None
    assert one.get("z", 4) == b"last"
    with pytest.raises(UnreadableError, match="has 4 bytes, expected at most 3"):
        one.get("z", 3)
    with pytest.raises(FormatError, match="relative path"):
        one.get("../a")


def test_it_is_only_read(packed: Path) -> None:
    storage, before = ArchiveStorage(packed), packed.read_bytes()
    for change in (
        lambda: storage.put("a", b""),
        lambda: storage.create("new", b""),
        lambda: storage.replace("a", b"1", b"2"),
        lambda: storage.remove("a"),
        lambda: storage.touch("a"),
    ):
        with pytest.raises(StoreError, match="only read"):
            change()
    assert packed.read_bytes() == before
    with pytest.raises(StoreError, match="exists"):
        pack(packed.parent / "folder", packed)
    assert sorted(p.name for p in packed.parent.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("head", "contents", "message"),
    [
        (header({"a": 2}), b"1", "expected .* bytes, got"),
        (header({"a": 1}), b"12", "expected .* bytes, got"),
        (header({"a": -1, "b": 2}), b"1", "'a' has the size -1"),
        (header({"a": True}), b"1", "'a' has the size True"),
        (header({"a": 1 << 70}), b"1", "has the size"),
        (header({"../a": 1}), b"1", "relative path"),
        (header({"/a": 1}), b"1", "relative path"),
        (header(["a"]), b"1", "expected an object, got list"),
        (canonical_json({"format": "other", "files": {}}), b"", "expected a document of format"),
        (json.dumps({"format": FORMAT, "files": {}}).encode(), b"", "expected canonical JSON"),
        (b'{"files":{"a":1,"a":1},"format":"enginebundle.archive/1"}', b"12", "JSON"),
        (b"[" * 100_000, b"", "JSON"),
        (b"", b"", "JSON"),
    ],
)
def test_anything_else_is_refused(
    tmp_path: Path, head: bytes, contents: bytes, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        ArchiveStorage(write(tmp_path / "x", head, contents))


def test_a_header_that_is_cut_or_too_long_is_refused(tmp_path: Path) -> None:
    magic = f"{FORMAT}\n".encode()
    for data in (
        magic,
        magic + b"\0" * 7,
        magic + (1 << 62).to_bytes(8, "little"),
        magic + b"\xff" * 8,
    ):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(FormatError):
            ArchiveStorage(tmp_path / "x")


def test_only_regular_files_that_say_so_are_archives(packed: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("enginebundle.archive/2\n")
    assert is_archive(packed)
    for other in ("fifo", "text", "folder", "none", "\0", "packed/x"):
        assert not is_archive(tmp_path / other)


@pytest.fixture
def bundle(store: Store) -> Bundle:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    return Bundle.open(store, version)


def test_a_bundle_is_loaded_from_one_file(bundle: Bundle, tmp_path: Path) -> None:
    file = export_file(bundle, tmp_path / "new" / "tiny.bundle", [CPU])
    assert [p.name for p in file.parent.iterdir()] == ["tiny.bundle"]
    moved = file.rename(tmp_path / "moved")
    for reference in (moved, str(moved)):
        session = enginebundle.load(reference)
        x, mask = torch.randn(3, 3), torch.ones(3, dtype=torch.bool)
        torch.testing.assert_close(session(x, mask)["y"], expected(x, mask)["y"])
        assert session.selection[0].state == "validated"
    with pytest.raises(StoreError, match="already exists"):
        export_file(bundle, moved)
    # A name that is a reference is held against what is inside, as that of a folder is.
    assert enginebundle.load(moved.rename(tmp_path / "tiny@1")).version.number == 1
    with pytest.raises(IntegrityError, match="expected the version 2, got 1"):
        enginebundle.load((tmp_path / "tiny@1").rename(tmp_path / "tiny@2"))


def test_no_change_of_a_file_is_served(bundle: Bundle, tmp_path: Path) -> None:
    file = export_file(bundle, tmp_path / "tiny.bundle")
    data, generator = file.read_bytes(), random.Random(0)
    x, mask = torch.ones(3, 3), torch.ones(3, dtype=torch.bool)
    want = expected(x, mask)["y"]
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        place = generator.randrange(len(changed))
        how = generator.randrange(3)
        if how == 0:
            changed[place] ^= 1 << generator.randrange(8)
        elif how == 1:
            del changed[place : place + generator.randrange(1, 64)]
        else:
            changed[place:place] = generator.randbytes(generator.randrange(1, 64))
        file.write_bytes(changed)
        try:
            got = enginebundle.load(file, target=CPU, allow_pending=True)(x, mask)["y"]
        except BundleError:
            refused += 1
        else:
            torch.testing.assert_close(got, want)
    assert refused > 150


def test_a_blob_that_another_one_replaces_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    folder = export(bundle, tmp_path / "exported")
    blob = bundle.index.variants[0].parts[0].segments[0].blob
    (path,) = (folder / "blobs").rglob(blob[7:])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"relu", b"silu"))
    pack(folder, tmp_path / "swapped")
    session = enginebundle.load(tmp_path / "swapped", target=CPU)
    with pytest.raises(IntegrityError):
        session.open()
