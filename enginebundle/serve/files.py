"""A bundle's attachments: files that came with the model, verified when they are read.

session.files["labels.txt"]              bytes
session.files.text("labels.txt")         str
session.files.save("/tmp/tokenizer")     writes them into a folder, for libraries that want paths
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from enginebundle.errors import FormatError, NotFoundError, StoreError
from enginebundle.format.attachments import Attachments
from enginebundle.format.digest import Digest


class Files:
    """Names in order; each file is read from the store, and checked, whenever it is asked for."""

    def __init__(self, attachments: Attachments, read: Callable[[Digest], bytes]) -> None:
        self._blobs = dict(attachments)
        self._read = read

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, name: object) -> bool:
        return name in self._blobs

    def __repr__(self) -> str:
        return f"<Files {', '.join(self._blobs) or 'none'}>"

    def __getitem__(self, name: str) -> bytes:
        """A file's bytes. NotFoundError if there is none of that name, and what reading a blob raises."""
        if name not in self._blobs:
            raise NotFoundError(
                f"no file {name!r} in the bundle; it has {', '.join(self) or 'none'}"
            )
        return self._read(self._blobs[name])

    def text(self, name: str) -> str:
        """A file of UTF-8 text. FormatError if it is not."""
        try:
            return self[name].decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"file {name!r} is not UTF-8: {error}") from error

    def save(self, folder: str | Path, below: str = "") -> Path:
        """Write all files, or those in the folder `below`, into a folder, which is made if need be.

        Returns the folder. Files of the same names are replaced. StoreError if they can't be written.
        """
        prefix = f"{below.rstrip('/')}/" if below else ""
        names = [name for name in self if name.startswith(prefix)]
        if below and not names:
            raise NotFoundError(
                f"no files in {below!r}; the bundle has {', '.join(self) or 'none'}"
            )
        for name in names:
            data, path = self[name], Path(folder) / name.removeprefix(prefix)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:
                raise StoreError(f"{path}: {error}") from error
        return Path(folder)
