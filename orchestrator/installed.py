"""What is installed here: the part of a key that the manifest does not say."""

from __future__ import annotations

import functools
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from enginebundle.digest import Digest
from enginebundle.spec import Toolchain
from orchestrator.sources import tree_digest

OWN_PACKAGES = ("compiler", "enginebundle", "orchestrator")

_NUMERIC = ("torch", "numpy", "safetensors", "triton", "nvidia-", "cuda-")
"""Distributions that a build step imports or loads, by the start of their names."""
_BACKEND = {"torch": (), "rtx": ("tensorrt-rtx",), "trt": ("tensorrt",)}


@dataclass(frozen=True, slots=True)
class Installed:
    """Python's version, the platform, every distribution, and the digests of our own packages."""

    python: str
    platform: str
    distributions: Toolchain
    packages: tuple[tuple[str, Digest], ...]

    def for_trace(self) -> dict[str, Any]:
        """Everything: the user's code may import any distribution."""
        return {
            "python": self.python,
            "distributions": self.distributions.to_json(),
            "packages": self._own("compiler", "enginebundle"),
        }

    def for_build(self, backend: str) -> dict[str, Any]:
        """What turns a Program into an artifact of that backend."""
        return {
            "python": self.python,
            "platform": self.platform,
            "distributions": self._starting(_NUMERIC + _BACKEND[backend], backend),
            "packages": self._own("compiler", "enginebundle"),
        }

    def for_publish(self) -> dict[str, Any]:
        """What writes an index."""
        return {"packages": self._own("enginebundle", "orchestrator")}

    def for_validate(self, backend: str) -> dict[str, Any]:
        """What loads a bundle and compares."""
        return {
            "python": self.python,
            "platform": self.platform,
            "distributions": self._starting(_NUMERIC + _BACKEND[backend], backend),
            "packages": self._own("compiler", "enginebundle"),
        }

    def _own(self, *names: str) -> dict[str, Digest]:
        return {name: digest for name, digest in self.packages if name in names}

    def _starting(self, starts: tuple[str, ...], backend: str) -> dict[str, str]:
        found = {n: v for n, v in self.distributions.versions if n.startswith(starts)}
        if backend == "trt":  # the other product's name starts with this one's
            found = {n: v for n, v in found.items() if not n.startswith("tensorrt-rtx")}
        return found


def installed() -> Installed:
    """Observe this process's installation. Imports none of it."""
    return Installed(
        python=platform.python_version(),
        platform=f"{sys.platform}-{platform.machine()}",
        distributions=Toolchain(tuple(distributions().items())),
        packages=tuple((name, tree_digest(_folder(name))) for name in OWN_PACKAGES),
    )


@functools.cache
def distributions() -> Mapping[str, str]:
    """Version of every installed distribution by normalized name. First on the path wins."""
    found: dict[str, str] = {}
    for dist in metadata.distributions():
        name = dist.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), dist.version)
    return found


def _folder(package: str) -> Path:
    return Path(__file__).resolve().parent.parent / package
