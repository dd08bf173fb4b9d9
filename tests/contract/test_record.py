"""The recorded signatures are those of the real bindings."""

from __future__ import annotations

import importlib.util
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.contract import bindings
from tests.contract.record import FILE, WHEELS, as_text, downloaded, kept, recorded

NEWEST = list(WHEELS)[-1]
needs_gcc = pytest.mark.skipif(
    bindings.compiler() is None, reason="no gcc: stub libraries can't be compiled"
)


@needs_gcc
def test_the_newest_version_s_are_those_of_the_installed_bindings(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip(f"not installed: pip install --no-deps {WHEELS[NEWEST]}")
    name, _, version = WHEELS[NEWEST].partition("==")
    assert metadata.version(name) == version
    bindings.stubs(tmp_path, int(NEWEST.partition(".")[0]))
    assert kept(bindings.read_tensorrt(tmp_path)) == recorded(NEWEST)


@needs_gcc
@pytest.mark.slow
def test_all_are_those_of_the_wheels(tmp_path: Path) -> None:
    found = {}
    for version in WHEELS:
        folder = tmp_path / version
        folder.mkdir()
        found[version] = downloaded(version, folder)
    assert as_text(found) == FILE.read_text()


def test_the_package_asks_for_the_versions_that_are_recorded() -> None:
    extras = tomllib.loads((FILE.parents[2] / "pyproject.toml").read_text())["project"]
    major, _, minor = NEWEST.partition(".")
    bounds = f"tensorrt>={next(iter(WHEELS))},<{major}.{int(minor) + 1}"
    assert bounds in extras["optional-dependencies"]["trt"]
    readme = (FILE.parents[2] / "README.md").read_text()
    assert f"`tensorrt` {next(iter(WHEELS))} to {NEWEST} (extra `[trt]`)" in readme


@pytest.mark.parametrize("version", WHEELS)
def test_it_is_tensorrt_and_not_tensorrt_rtx(version: str) -> None:
    found = recorded(version)
    assert "add_plugin_v3" in found["INetworkDefinition"]
    assert "ComputeCapability" not in found
