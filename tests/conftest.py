"""torchvision imports beside a CPU build of torch, and nothing asks a model hub."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["KILN_CHECK_PASSES"] = "1"  # every pass is held to its contract, in child processes too
sys.path.append(str(Path(__file__).resolve().parents[1] / "manifests"))

import torchvision_on_cpu

torchvision_on_cpu.prepare()


@pytest.fixture(autouse=True)
def _own_path() -> Iterator[None]:
    """Entrypoints put folders on `sys.path` for good; the next test must not see them."""
    saved = list(sys.path)
    yield
    sys.path[:] = saved
