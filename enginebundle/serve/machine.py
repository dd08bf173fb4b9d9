"""The GPU, driver and runtime versions of this machine, found without importing torch or TensorRT."""

from __future__ import annotations

import ctypes
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginebundle.runtimes.versions import runtime_versions

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True, slots=True)
class Machine:
    """`arch` is `sm_NN` of CUDA's first visible device, or None; `runtimes` are (module, version)."""

    arch: str | None
    runtimes: tuple[tuple[str, str], ...]
    gpu: str = ""
    driver: str = ""
    cuda: str = ""
    cpu: str = ""

    def runtime(self, module: str) -> str | None:
        """The installed version of `torch`, `tensorrt` or `tensorrt_rtx`; None if it is missing."""
        return dict(self.runtimes).get(module)

    def to_json(self) -> dict[str, Any]:
        return {
            "arch": self.arch,
            "runtimes": dict(self.runtimes),
            "gpu": self.gpu,
            "driver": self.driver,
            "cuda": self.cuda,
            "cpu": self.cpu,
        }


def this_machine() -> Machine:
    """Look at this machine. Never raises: what can't be found is None or empty."""
    runtimes = tuple(runtime_versions().items())
    arch, gpu, cuda = _gpu()
    return Machine(arch, runtimes, gpu, _driver(), cuda, _cpu())


def gpu_count() -> int:
    """How many devices CUDA shows this process."""
    return _cuda()[1]


def _cuda() -> tuple[Any, int]:
    """The driver's library, initialized, and how many devices it shows; (None, 0) without one."""
    count = ctypes.c_int()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, 0
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return None, 0
    return cuda, count.value


def _gpu() -> tuple[str | None, str, str]:
    """(arch, name, CUDA version of the driver) of the first visible device."""
    cuda, count = _cuda()
    device, value = ctypes.c_int(), ctypes.c_int()
    if count < 1:
        return None, "", ""
    if cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None, "", ""
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None, "", ""
        numbers.append(value.value)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDriverGetVersion(ctypes.byref(value))
    version = f"{value.value // 1000}.{value.value % 1000 // 10}"
    return f"sm_{numbers[0]}{numbers[1]}", name.value.decode(errors="replace"), version


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return ""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return found.group(1) if found else ""


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()
