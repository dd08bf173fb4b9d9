"""The files that a manifest attaches to a bundle: where they lie, and their digests, which are in the keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from enginebundle.errors import FormatError
from enginebundle.format.attachments import check_attachments
from orchestrator.plan.inputs.now import file_digest


class BadAttachments(Exception):
    """Why a model's attachments can't be: one is missing, or has a name that no file may have."""


def attached(given: Iterable[tuple[str, Path]]) -> dict[str, dict[str, str]]:
    """The path and digest of each file, by the name it gets; of a folder, all files in it that are not hidden.

    Raises BadAttachments, and OSError for a file that can't be read.
    """
    found = {name: path for one in given for name, path in _files(*one)}
    try:
        check_attachments(found)
    except FormatError as error:
        raise BadAttachments(str(error)) from error
    return {name: {"path": str(p), "digest": file_digest(p)} for name, p in sorted(found.items())}


def _files(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield name, path
        return
    if not path.is_dir():
        raise BadAttachments(f"no file or folder {path}; expected one there")
    inside = [p.relative_to(path) for p in sorted(path.rglob("*")) if p.is_file()]
    shown = [p for p in inside if not any(part.startswith(".") for part in p.parts)]
    if not shown:
        raise BadAttachments(f"no files in the folder {path}")
    for one in shown:
        yield f"{name}/{one.as_posix()}", path / one
