"""Exact versions of installed packages, read from files without importing anything.

A wheel's metadata may omit the local part of its version: for PyPI's torch it says `2.13.0`, while
`torch/version.py` says `2.13.0+cu130`. A CUDA build and a CPU build give different results, so a
version keeps its local part wherever one is compared or recorded.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

MODULES = ("tensorrt", "tensorrt_rtx", "torch")
"""The modules that run what a bundle holds."""

_STATED = re.compile(r"^__version__\s*(?::[^=]+)?=\s*['\"]([^'\"]+)['\"]", re.MULTILINE)


def runtime_versions() -> dict[str, str]:
    """The versions of torch, tensorrt and tensorrt_rtx, by module; missing if not installed."""
    found = ((module, _of_module(module)) for module in MODULES)
    return {module: version for module, version in found if version is not None}


def name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    """The distribution's name, `a-b` for any of `A_b`, `a.b`, and its version, with the local part that
    its package's `version.py` states. The name is empty where the metadata have none."""
    known = distribution.metadata  # parsed on each access
    name, version = known["Name"] or "", known["Version"] or ""
    package = distribution.locate_file(re.sub(r"[-.]+", "_", name))
    return re.sub(r"[-_.]+", "-", name).lower(), _with_local_part(version, Path(str(package)))


@functools.cache
def distributions_of(module: str) -> Mapping[str, str]:
    """The installed distributions that make up a TensorRT module: for which CUDA, and which libraries.

    The same version exists for several CUDA versions: `tensorrt_cu12_libs`, `tensorrt_cu13_libs`.
    """
    own = re.compile(rf"{module}(_cu\d+)?(_bindings|_libs)?\Z")
    found: dict[str, str] = {}
    for dist in metadata.distributions():
        name, version = name_and_version(dist)
        name = name.replace("-", "_")
        if own.match(name):
            found.setdefault(name, version)
    return found


def _of_module(module: str) -> str | None:
    """What the module would say in `__version__`.

    TensorRT's wheels take it from the bindings, a package of its own, and its archives state it. Either
    may come from any of several distributions, or from none.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # a folder without code is no such module
        return None
    for name in (module, f"{module}_bindings"):
        package = importlib.util.find_spec(name)
        folder = Path(package.origin).parent if package and package.origin else None
        stated = _stated(folder, "version.py", "__init__.py") if folder else None
        if stated is not None:
            return stated
    provided = metadata.packages_distributions()
    names = provided.get(f"{module}_bindings") or provided.get(module)
    return name_and_version(metadata.distribution(names[0]))[1] if names else None


def _with_local_part(version: str, package: Path) -> str:
    stated = _stated(package, "version.py")
    return stated if stated is not None and stated.startswith(f"{version}+") else version


def _stated(package: Path, *files: str) -> str | None:
    """The version that one of the package's files states; None if none does."""
    for file in files:
        try:
            text = (package / file).read_text(encoding="utf-8")
        except OSError:
            continue
        found = _STATED.search(text)
        if found:
            return found[1]
    return None
