"""What importing the package costs, and what it exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import enginebundle
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, publish

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


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
import enginebundle, torch
from enginebundle.__main__ import main
from enginebundle.errors import InputError
from enginebundle.serve.validate import run_goldens

session = enginebundle.load(sys.argv[1])
session.warm_up()
assert run_goldens(session).passed
try:
    session(x=[1.0], mask=[True])
except InputError as error:
    print(error)
folder = sys.argv[2]
sys.exit(main(["run", sys.argv[1], f"{folder}/in", f"{folder}/out"]))
"""


def test_a_service_needs_no_numpy(store: Store, tmp_path: Path) -> None:
    validate_and_sign(store, publish(store), CPU)
    inputs = {"x": torch.ones(3, 3), "mask": torch.ones(3, dtype=torch.bool)}
    save_file(inputs, tmp_path / "in")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_NUMPY, f"{store.uri}/tiny", str(tmp_path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("input 'x': expected a torch tensor"), done.stderr
    assert f"BundleError: writing {tmp_path}/out needs NumPy: pip install numpy" in done.stderr
    assert done.returncode == 1


def test_the_public_surface_is_small_and_lazy() -> None:
    assert sorted(enginebundle.__all__) == ["BundleError", "Session", "Store", "Trust", "load"]
    assert set(enginebundle.__all__) <= set(dir(enginebundle))
    assert enginebundle.Store is Store
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        enginebundle.nothing  # noqa: B018
