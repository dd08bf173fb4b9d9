"""Which installed distributions a file belongs to."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from enginebundle.runtimes.versions import name_and_version
from orchestrator.plan.inputs.places import sites
from orchestrator.plan.installed import distributions
from orchestrator.plan.local_installs import local_installs

METADATA = (".dist-info", ".egg-info", ".egg-link", ".pth")
"""What an installer writes about a distribution: read by its name, it counts as that distribution."""


def owners(rest: str, site: str) -> tuple[str, ...]:
    """The distributions that installed the file or folder `rest` of a site's folder; empty for none.

    A folder that several share, such as a namespace package, is looked at one level deeper.
    """
    parts = rest.split("/")
    table = _table(site)
    for depth in range(1, len(parts) + 1):
        found = table.get("/".join(parts[:depth]))
        if found is None:
            return ()
        if len(found) == 1:
            return found
    return ()


def version(name: str) -> str | None:
    """A distribution's version; with a digest, if it came from elsewhere than an index. None if absent."""
    found = distributions().get(name)
    local = _local().get(name)
    return found if found is None or local is None else f"{found} {local}"


@functools.cache
def _local() -> Mapping[str, str]:
    return {
        name.lower().replace("_", "-").replace(".", "-"): where
        for name, where in local_installs().items()
        if not isinstance(where, Path)
    }


@functools.cache
def _table(site: str) -> Mapping[str, tuple[str, ...]]:
    """Path of a file or folder -> the distributions with files in it. Folders of one are not entered."""
    files: dict[str, list[str]] = {}
    for dist in metadata.distributions(path=[site]):
        name, _ = name_and_version(dist)
        text = dist.read_text("RECORD") or dist.read_text("installed-files.txt") or ""
        if name and name not in files:
            files[name] = [line.split(",", 1)[0].strip('"') for line in text.splitlines()]
    found: dict[str, dict[str, None]] = {}
    depth, left = 1, files
    while left:
        level: dict[str, dict[str, None]] = {}
        for name, paths in left.items():
            for path in paths:
                level.setdefault("/".join(path.split("/", depth)[:depth]), {})[name] = None
        shared = {path for path, names in level.items() if len(names) > 1}
        found |= level
        left = {
            name: deeper
            for name, paths in left.items()
            if (deeper := [p for p in paths if p.count("/") >= depth and _head(p, depth) in shared])
        }
        depth += 1
    return {path: tuple(names) for path, names in found.items()}


def _head(path: str, depth: int) -> str:
    return "/".join(path.split("/", depth)[:depth])


def is_metadata(rest: str) -> bool:
    """Whether a file of a site's folder tells about distributions, and is not part of one."""
    return rest.split("/")[0].endswith(METADATA)


def site_of(path: str) -> tuple[str, str] | None:
    """(site, the rest of the path) if the path lies in a folder of distributions."""
    for site in sites():
        if path.startswith(site + "/"):
            return site, path[len(site) + 1 :]
    return None
