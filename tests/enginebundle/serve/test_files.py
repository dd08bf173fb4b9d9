"""Attachments: files that a bundle carries for its services."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import FormatError, IntegrityError, NotFoundError, StoreError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.index import Index
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.session import Session
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, index

FILES = {
    "labels.txt": "Katze\nHünd\n".encode(),
    "tokenizer/tokenizer.json": b'{"model": {}}',
    "tokenizer/more/vocab.txt": b"",
    "raw.bin": b"\xff\x00",
}


def with_files(store: Store, files: dict[str, bytes]) -> Index:
    blobs = {name: store.put_blob(data) for name, data in files.items()}
    made = index(store)
    sizes = {digest_bytes(data): len(data) for data in files.values()}
    return replace(
        made, attachments=tuple(blobs.items()), blobs=tuple((dict(made.blobs) | sizes).items())
    )


@pytest.fixture
def session(store: Store) -> Session:
    raw = with_files(store, FILES).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    return enginebundle.load(f"{store.uri}/tiny@{version.number}", target=CPU, allow_pending=True)


def test_files_are_read_by_name(session: Session) -> None:
    files = session.files
    assert list(files) == sorted(FILES)
    assert len(files) == 4
    assert {name: files[name] for name in files} == FILES
    assert files.text("labels.txt") == "Katze\nHünd\n"
    assert "labels.txt" in files
    assert "tokenizer" not in files
    with pytest.raises(
        NotFoundError, match=r"no file 'tokenizer' in the bundle; it has labels\.txt"
    ):
        files["tokenizer"]
    with pytest.raises(FormatError, match=r"'raw\.bin' is not UTF-8"):
        files.text("raw.bin")


def test_files_are_written_into_a_folder(session: Session, tmp_path: Path) -> None:
    folder = session.files.save(tmp_path / "new" / "all")
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found == FILES
    inner = session.files.save(str(tmp_path / "inner"), below="tokenizer")
    assert sorted(p.name for p in inner.iterdir()) == ["more", "tokenizer.json"]
    assert session.files.save(tmp_path / "inner", "tokenizer/") == inner  # again
    with pytest.raises(NotFoundError, match="no files in 'token'"):
        session.files.save(tmp_path / "none", below="token")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        session.files.save(tmp_path / "file")


def test_a_bundle_without_files_has_none(store: Store) -> None:
    raw = index(store).to_bytes()
    assert b"attachments" not in raw
    files = Bundle.open(store, store.publish("tiny", raw, default_signer().sign(raw))).files
    assert list(files) == []
    with pytest.raises(NotFoundError, match="it has none"):
        files["labels.txt"]


def test_a_changed_file_is_noticed_when_it_is_read(session: Session, tmp_path: Path) -> None:
    blob = dict(session.bundle.index.attachments)["labels.txt"]
    (path,) = (tmp_path / "store" / "blobs").rglob(blob[7:])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().swapcase())
    with pytest.raises(IntegrityError):
        session.files["labels.txt"]
    with pytest.raises(IntegrityError):
        session.files.save(tmp_path / "out")
    assert session.files["raw.bin"] == FILES["raw.bin"]


def test_an_export_takes_them_along(session: Session, tmp_path: Path) -> None:
    folder = export(session.bundle, tmp_path / "exported", [CPU])
    again = enginebundle.load(folder, target=CPU, allow_pending=True)
    assert {name: again.files[name] for name in again.files} == FILES


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../evil"], "attachment '../evil': '..': expected letters"),
        (["/etc/passwd"], "expected letters"),
        (["a//b"], "attachment 'a//b': '': expected letters"),
        ([".bashrc"], "expected letters"),
        (["a\\b"], "expected letters"),
        (["a/-rf"], "expected letters"),
        (["x/" * 300 + "x"], "at most 500 characters"),
        (["labels", "labels/a"], "'labels' is a file and a folder"),
        (["Labels.txt", "labels.txt"], "differ in case only"),
        (["a/b/c", "A"], "'A' is a file and a folder"),
    ],
)
def test_names_that_could_do_harm_in_a_folder_are_refused(
    store: Store, names: list[str], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        with_files(store, dict.fromkeys(names, b"x"))


def test_an_index_lists_them_in_one_form(store: Store) -> None:
    made = with_files(store, FILES)
    assert Index.from_bytes(made.to_bytes()) == made
    value = parse_json(made.to_bytes())
    for change in (
        {"attachments": {}},
        {"attachments": ["labels.txt"]},
        {"attachments": {"labels.txt": "sha256:12"}},
        {"attachments": {"labels.txt": "sha256:" + "0" * 64}},  # not among the blobs
        {"attachments": {"../x": value["attachments"]["raw.bin"]}},
    ):
        with pytest.raises(FormatError):
            Index.from_bytes(canonical_json(value | change))
