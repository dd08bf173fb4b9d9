"""Installations whose version does not determine their content: not from an index, or editable."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

from enginebundle.format.digest import Digest, digest_json

OWN = "enginekiln"
"""This distribution: its packages are in the keys by their own digests."""


@functools.cache
def local_installs() -> Mapping[str, Path | Digest]:
    """Distribution -> its folder if editable, else the digest of what pip installed from elsewhere."""
    found: dict[str, Path | Digest] = {}
    for dist in metadata.distributions():
        origin = dist.read_text("direct_url.json")
        if origin is None:
            continue
        name = dist.metadata["Name"]
        if name == OWN:
            continue
        described = json.loads(origin)
        url = urlparse(described.get("url", ""))
        if url.scheme == "file" and described.get("dir_info", {}).get("editable"):
            folder = Path(unquote(url.path))
            if folder.is_dir():
                found[name] = folder
        else:
            found[name] = _recorded(dist)
    return found


def _recorded(dist: metadata.Distribution) -> Digest:
    """Digest of the names and hashes that the installer recorded, without scripts elsewhere."""
    recorded = {
        str(file): file.hash.value
        for file in dist.files or ()
        if file.hash is not None and not str(file).startswith("..")
    }
    return digest_json({"version": dist.version, "files": recorded})
