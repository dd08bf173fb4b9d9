"""What importing the package costs, and what it exports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import enginebundle
from enginebundle.storage.store import Store

HEAVY = (
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "ray",
    "pydantic",
    "transformers",
    "pyarrow",
    "numpy",
    "obstore",
)


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    code = (
        "import sys, enginebundle, enginebundle.storage.store, enginebundle.serve.loader, enginebundle.serve.validate\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_surface_is_small_and_lazy() -> None:
    assert sorted(enginebundle.__all__) == ["BundleError", "Session", "Store", "Trust", "load"]
    assert set(enginebundle.__all__) <= set(dir(enginebundle))
    assert enginebundle.Store is Store
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        enginebundle.nothing  # noqa: B018
