"""Exact versions of installed packages, read from files without importing anything.

A wheel's metadata may omit the local part of its version: for PyPI's torch it says `2.13.0`, while
`torch/version.py` says `2.13.0+cu130`. A CUDA build and a CPU build give different results, so a
version keeps its local part wherever one is compared or recorded.
"""

from __future__ import annotations

import importlib.util
import re
from importlib import metadata
from pathlib import Path

_DISTRIBUTIONS = {
    "torch": ("torch",),
    "tensorrt_rtx": (
        "tensorrt_rtx", "tensorrt_rtx_cu13", "tensorrt_rtx_cu12", "tensorrt_rtx_cu13_bindings",
        "tensorrt_rtx_cu12_bindings",
    ),
    "tensorrt": (
        "tensorrt", "tensorrt_cu13", "tensorrt_cu12", "tensorrt_cu13_bindings",
        "tensorrt_cu12_bindings",
    ),
}  # fmt: skip
"""Module name -> the distributions that may contain it."""

_STATED = re.compile(r"^__version__\s*(?::[^=]+)?=\s*['\"]([^'\"]+)['\"]", re.MULTILINE)


def runtime_versions() -> dict[str, str]:
    """The versions of torch, tensorrt and tensorrt_rtx, by module; missing if not installed."""
    found = ((module, _of_module(module)) for module in sorted(_DISTRIBUTIONS))
    return {module: version for module, version in found if version is not None}


def distribution_version(distribution: metadata.Distribution) -> str:
    """The distribution's version, with the local part that its package's `version.py` states."""
    package = re.sub(r"[-.]+", "_", distribution.metadata["Name"])
    return _with_local_part(distribution.version, Path(str(distribution.locate_file(package))))


def _of_module(module: str) -> str | None:
    spec = importlib.util.find_spec(module)
    if spec is None:
        return None
    for name in _DISTRIBUTIONS[module]:
        try:
            return distribution_version(metadata.distribution(name))
        except metadata.PackageNotFoundError:
            continue
    return _stated(Path(spec.origin).parent) if spec.origin else None


def _with_local_part(version: str, package: Path) -> str:
    stated = _stated(package)
    return stated if stated is not None and stated.startswith(f"{version}+") else version


def _stated(package: Path) -> str | None:
    """The version in the package's `version.py`; None if there is no such file or version."""
    try:
        text = (package / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = _STATED.search(text)
    return found[1] if found else None
