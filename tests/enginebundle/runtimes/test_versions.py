"""Versions read from files equal those of the imported modules, local part included."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from enginebundle.runtimes import versions
from enginebundle.runtimes.versions import distributions_of, name_and_version, runtime_versions

ROOT = Path(__file__).resolve().parents[3]


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
    assert name_and_version(_install(tmp_path, "a-package", line)) == ("a-package", version)


def test_a_module_without_a_distribution_says_its_own_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "source_build"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(versions, "MODULES", ("source_build",))
    assert runtime_versions() == {}
    (package / "version.py").write_text("__version__ = '2.14.0a0+git1234'")
    assert runtime_versions() == {"source_build": "2.14.0a0+git1234"}


WRAPPER = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
"""What the module `tensorrt` is, in the wheels tensorrt-cu12 and tensorrt-cu13 of 10.x and 11.x."""


@pytest.mark.parametrize(
    ("files", "version"),
    [
        # As tensorrt-cu13 installs it: the module, and the bindings that it takes all from.
        ({"tensorrt": WRAPPER, "tensorrt_bindings": '__version__ = "10.15.1.29"'}, "10.15.1.29"),
        # NVIDIA's archive and its containers: one package.
        ({"tensorrt": '__version__ = "10.6.0"'}, "10.6.0"),
        # Bindings alone are no module `tensorrt`, nor is a folder of that name without code.
        ({"tensorrt_bindings": '__version__ = "10.6.0.post1"'}, None),
        ({"tensorrt_bindings": '__version__ = "10.6.0.post1"', "tensorrt": None}, None),
    ],
)
def test_tensorrt_s_version_is_what_its_bindings_state(
    tmp_path: Path, files: dict[str, str | None], version: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "__init__.py").write_text(text)
    assert version_in(tmp_path) == version


def test_the_installed_bindings_are_enough_for_a_module_put_around_them(tmp_path: Path) -> None:
    installed = metadata.version("tensorrt-cu13-bindings")
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt/__init__.py").write_text(WRAPPER)
    assert version_in(tmp_path) == installed


def test_a_module_that_states_no_version_has_that_of_its_distribution(tmp_path: Path) -> None:
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt/__init__.py").touch()
    info = tmp_path / "renamed_by_a_vendor-10.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: renamed-by-a-vendor\nVersion: 10.9\n"
    )
    (info / "top_level.txt").write_text("tensorrt\n")
    assert version_in(tmp_path, "-S") == "10.9"


def version_in(site: Path, *options: str) -> str | None:
    """What a fresh process that has `site` first on its path says of TensorRT, without importing it."""
    code = (
        f"import sys; sys.path[:0] = [{str(site)!r}, {str(ROOT)!r}]; "
        "from enginebundle.runtimes.versions import runtime_versions; "
        "print(runtime_versions().get('tensorrt')); "
        "assert not {'tensorrt', 'tensorrt_bindings'} & set(sys.modules)"
    )
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.strip()
    return None if said == "None" else said


def test_tensorrt_s_distributions_are_not_tensorrt_rtx_s() -> None:
    assert all("rtx" not in name for name in distributions_of("tensorrt"))
    assert distributions_of("tensorrt")["tensorrt_cu13_bindings"]
    assert "tensorrt_rtx_cu13_libs" in distributions_of("tensorrt_rtx")


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
