"""TensorRT's Python bindings, imported where TensorRT is not: beside stubs of the libraries they link.

The bindings need `libnvinfer` and two more libraries, which need a GPU's driver. To read signatures,
libraries that export the same few symbols and do nothing are enough.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.contract.signatures import Signatures

LINKED = {
    "libnvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "libnvinfer_plugin": ("initLibNvInferPlugins",),
    "libnvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
"""Libraries that the bindings of 10.6 to 11.4 link, and the symbols they want from them."""


def compiler() -> str | None:
    """The C compiler that makes the stubs; None if there is none."""
    return shutil.which("gcc")


def stubs(folder: Path, major: int) -> None:
    """Make the stub libraries of TensorRT `major` in the folder."""
    gcc = compiler()
    assert gcc is not None
    for name, symbols in LINKED.items():
        library = f"{name}.so.{major}"
        source = folder / f"{library}.c"
        source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols))
        soname = f"-Wl,-soname,{library}"
        subprocess.run(
            [gcc, "-shared", "-fPIC", soname, "-o", folder / library, source], check=True
        )


def read_tensorrt(libraries: Path, site: Path | None = None) -> Signatures:
    """Signatures of the bindings in the folder `site`, or of the installed ones, beside such stubs."""
    environment = {"LD_LIBRARY_PATH": str(libraries), "LD_BIND_NOW": "1"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    return read("tensorrt_bindings", environment)


def read(module: str, environment: dict[str, str]) -> Signatures:
    """Signatures of a module, read in a process of its own."""
    program = Path(__file__).with_name("signatures.py")
    result = subprocess.run(
        [sys.executable, program, module],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found: Signatures = json.loads(result.stdout)
    return found
