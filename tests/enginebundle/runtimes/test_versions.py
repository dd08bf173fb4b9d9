"""Versions read from files equal those of the imported modules, local part included."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from enginebundle.runtimes import versions
from enginebundle.runtimes.versions import distribution_version, runtime_versions


def test_versions_are_found_without_importing_anything() -> None:
    code = (
        "import sys; from enginebundle.runtimes.versions import runtime_versions; "
        "print(runtime_versions()['torch']); assert not {'torch', 'tensorrt_rtx'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == runtime_versions()["torch"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("__version__ = '2.13.0+cu130'", "2.13.0+cu130"),
        ('__version__: str = "2.13.0+cpu"', "2.13.0+cpu"),
        ("__version__ = '2.13.0'", "2.13.0"),
        ("__version__ = '2.12.1+cu130'", "2.13.0"),  # another version: the metadata decide
        ("__version__ = '2.13.01+cu130'", "2.13.0"),
        ("version = '2.13.0+cu130'", "2.13.0"),
        (None, "2.13.0"),
    ],
)
def test_the_local_part_comes_from_the_packages_version_file(
    tmp_path: Path, line: str | None, version: str
) -> None:
    assert distribution_version(_install(tmp_path, "a-package", line)) == version


def test_a_module_without_a_distribution_says_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "source_build"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(versions, "_DISTRIBUTIONS", {"source_build": ("source-build",)})
    assert runtime_versions() == {}
    (package / "version.py").write_text("__version__ = '2.14.0a0+git1234'")
    assert runtime_versions() == {"source_build": "2.14.0a0+git1234"}


def _install(site: Path, name: str, line: str | None) -> metadata.Distribution:
    """A distribution as a wheel installs it: metadata of version 2.13.0, and its package."""
    info = site / f"{name}-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.13.0\n")
    if line is not None:
        package = site / name.replace("-", "_")
        package.mkdir()
        (package / "version.py").write_text(f"{line}\n")
    return metadata.Distribution.at(info)
