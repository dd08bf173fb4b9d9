"""What is installed here: the part of a key that the manifest does not determine."""

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

from enginebundle.format.digest import Digest
from enginebundle.format.spec import Toolchain
from enginebundle.runtimes.versions import name_and_version, runtime_versions
from enginebundle.serve.selection import MODULES
from orchestrator.plan.content import tree_digest

OWN_PACKAGES = ("compiler", "enginebundle", "orchestrator")

_NUMERIC = r"torch|numpy|safetensors|triton|nvidia-.*|cuda-.*"
"""A pattern of the distributions that a build step imports or loads for any backend."""
_BACKEND = {
    "torch": _NUMERIC,
    "rtx": _NUMERIC + r"|tensorrt-rtx.*",
    "trt": _NUMERIC + r"|tensorrt(-(?!rtx).*)?",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """Python's version, the platform, every distribution, and the digests of our own packages."""

    python: str
    platform: str
    distributions: Toolchain
    packages: tuple[tuple[str, Digest], ...]
    runtimes: tuple[tuple[str, str], ...] = ()
    """What torch and TensorRT's modules say of their versions: a module may have no distribution."""

    def for_trace(self) -> dict[str, Any]:
        """What runs the user's code, and writes what that made. The rest is recorded while it runs."""
        return {
            "python": self.python,
            "distributions": _matching(self.distributions, "safetensors"),
            "packages": self._own("compiler", "enginebundle"),
        }

    def for_build(self, backend: str) -> dict[str, Any]:
        """What turns a Program into an artifact for that backend."""
        return {
            "python": self.python,
            "platform": self.platform,
            "distributions": _matching(self.distributions, _BACKEND[backend]),
            "runtime": self._runtime(backend),
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
            "distributions": _matching(self.distributions, _BACKEND[backend]),
            "runtime": self._runtime(backend),
            "packages": self._own("compiler", "enginebundle"),
        }

    def _runtime(self, backend: str) -> str | None:
        """The version of the module that builds and runs engines of the backend; None if missing."""
        return dict(self.runtimes).get(MODULES[backend])

    def _own(self, *names: str) -> dict[str, Digest]:
        return {name: digest for name, digest in self.packages if name in names}


@functools.cache
def _matching(distributions: Toolchain, pattern: str) -> Mapping[str, str]:
    """Asked for each of thousands of tasks. Nobody may change what it gives."""
    names = re.compile(rf"(?:{pattern})\Z")
    return {n: v for n, v in distributions.versions if names.match(n)}


def installed() -> Installed:
    """Look at this process's installation. Imports none of it."""
    return Installed(
        python=platform.python_version(),
        platform=f"{sys.platform}-{platform.machine()}",
        distributions=Toolchain(tuple(distributions().items())),
        packages=tuple((name, tree_digest(_folder(name))) for name in OWN_PACKAGES),
        runtimes=tuple(runtime_versions().items()),
    )


@functools.cache
def distributions() -> Mapping[str, str]:
    """Version of every installed distribution by normalized name. The first on the path wins.

    The distributions inside setuptools are left out: they appear on the path of any process that
    imports setuptools, whatever the reason, and would change the keys of its tasks.
    """
    found: dict[str, str] = {}
    path = [folder for folder in sys.path if Path(folder).name != "_vendor"]
    for dist in metadata.distributions(path=path):
        name, version = name_and_version(dist)
        if name:
            found.setdefault(name, version)
    return found


def _folder(package: str) -> Path:
    return Path(__file__).resolve().parents[2] / package
