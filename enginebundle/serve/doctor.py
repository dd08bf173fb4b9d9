"""What this machine can load, and what it lacks for the rest."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from enginebundle.errors import BundleError
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.serve.selection import MODULES
from enginebundle.storage.trust import Trust

_ALWAYS = ("safetensors", "cryptography")
"""What every bundle needs besides torch."""


@dataclass(frozen=True)
class Finding:
    """`what` was looked at, whether it is as it should be, and what was found or would help."""

    what: str
    fine: bool
    detail: str


def examine() -> tuple[Finding, ...]:
    """Look at this machine, with every import that loading needs; takes seconds. Raises nothing."""
    machine = this_machine()
    found = [Finding("python", True, sys.version.split()[0]), _gpu(machine)]
    found += [_package(name, None) for name in _ALWAYS]
    modules = {
        name: _package(name, machine) for name in dict.fromkeys(("torch", *MODULES.values()))
    }
    found += modules.values()
    keys = _keys()
    needed = all(one.fine for one in (*found[2 : 2 + len(_ALWAYS)], modules["torch"], keys))
    found.append(keys)
    for backend, module in MODULES.items():
        lacks = [] if needed else ["what is named above"]
        lacks += [] if modules[module].fine or module == "torch" else [module]
        if backend != "torch":
            lacks += [] if machine.arch else ["a GPU"]
            lacks += [] if _torch_sees_a_gpu() else ["a torch that sees a GPU"]
        detail = f"needs {', '.join(lacks)}" if lacks else "can be loaded here"
        found.append(Finding(f"{backend}: targets", not lacks, detail))
    return tuple(found)


def _gpu(machine: Machine) -> Finding:
    if machine.arch is None:
        return Finding("GPU", False, "none that CUDA shows this process; torch:cpu needs none")
    detail = f"{machine.gpu}, {machine.arch}, driver {machine.driver}, CUDA {machine.cuda}"
    return Finding("GPU", True, detail)


def _package(name: str, machine: Machine | None) -> Finding:
    extra = {"tensorrt": "[trt]", "tensorrt_rtx": "[rtx]"}.get(name, "")
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        why = str(error).partition("\n")[0]
        return Finding(name, False, f"{why}. Run pip install 'enginekiln{extra}'")
    version = machine.runtime(name) if machine else getattr(module, "__version__", "")
    return Finding(name, True, version or "")


def _torch_sees_a_gpu() -> bool:
    try:
        import torch
    except (ImportError, OSError):
        return False
    return bool(torch.cuda.is_available())


def _keys() -> Finding:
    try:
        trust = Trust.default()
    except BundleError as error:
        return Finding("trusted keys", False, str(error))
    detail = f"{len(trust.keys)} in {trust.where}"
    return Finding("trusted keys", bool(trust.keys), detail)
