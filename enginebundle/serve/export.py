"""One version of a bundle in its own folder, or in one file: to copy, to bake into an image, to load from.

An export is a small store that holds this version under its number, with its evidence, and
`bundle.json`, which names it. An export earns no trust: the loader checks it like any store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from enginebundle.errors import StoreError
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.parse import check_name, digest, document_of, text
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.archive import is_archive, pack
from enginebundle.storage.reading import SMALL, is_file
from enginebundle.storage.store import Store, Version

FORMAT = "enginebundle.export/1"
_MARKER = "bundle.json"


def export(bundle: Bundle, folder: Path, targets: Iterable[Target] | None = None) -> Path:
    """Write a bundle to a new folder: everything, or only what `targets`, the goldens and the
    attachments need.

    The folder appears complete or not at all. StoreError if it already exists, NotFoundError for a
    target that the bundle lacks.
    """
    folder = _new(folder, "folder")
    wanted = _blobs(bundle, None if targets is None else tuple(targets))
    staging = _staging(folder)
    try:
        store = Store.open(staging, create=True)
        for blob in wanted:
            store.put_blob(bundle.read(blob))
        version = bundle.version
        store.put_version(version, *bundle.store.read_index(version))
        for known in bundle.evidence:
            store.put_evidence(version, known.content.target, known.document, known.signature)
        for head in bundle.ledger.heads:
            target = head.content.target
            store.put_head(version, target, head.signer, head.document, head.signature)
        bundle.store.copy_denials(store)
        marker = {"format": FORMAT, "name": version.name, "index": version.digest}
        store.put_file(_MARKER, canonical_json(marker))
        os.chmod(staging, 0o755)
        os.rename(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # already renamed on success
    return folder


def export_file(bundle: Bundle, file: Path, targets: Iterable[Target] | None = None) -> Path:
    """The same as one file, which `load` opens as it is. Raises what `export` raises."""
    file = _new(file, "file")
    staging = _staging(file)
    try:
        pack(export(bundle, staging / "bundle", targets), file)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return file


def _new(path: Path, kind: str) -> Path:
    path = Path(path).absolute()
    if path.exists():
        raise StoreError(f"export to {path}: it already exists; name a new {kind}")
    return path


def _staging(path: Path) -> Path:
    """A folder beside it, to write into until all is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise StoreError(f"export to {path}: {error}") from error


def is_export(reference: str | Path) -> bool:
    """Whether a reference is an exported folder or file on this machine."""
    path = Path(reference)
    return "://" not in str(reference) and (is_file(path / _MARKER) or is_archive(path))


def open_export(folder: Path) -> tuple[Store, Version]:
    """The store and the version of an exported folder or file. Raises FormatError or NotFoundError."""
    store = Store.open(folder)
    value = document_of(store.get_file(_MARKER, SMALL) or b"", FORMAT, ("name", "index"), SMALL)
    name = check_name(text(value["name"], "name"), "bundle name")
    return store, store.resolve(f"{name}@{digest(value['index'], 'index')}")


def _blobs(bundle: Bundle, targets: tuple[Target, ...] | None) -> list[Digest]:
    if targets is None:
        return [blob for blob, _ in bundle.index.blobs]
    wanted = {golden.blob for golden in bundle.index.goldens}
    wanted |= {blob for _, blob in bundle.index.attachments}
    for target in targets:
        for part in bundle.variant(target).parts:
            for segment in part.segments:
                wanted |= set(segment.blobs)
    return sorted(wanted)
