"""A new process until its first answer, with a bundle and with torch.compile: seconds and host memory.

    python benchmarks/speed/starts.py bundle REFERENCE INPUTS.pt
    python benchmarks/speed/starts.py inductor MODEL INPUTS.pt

Imports of torch and TensorRT, and CUDA's own start, come before. A model's weights are random, so making them is not
counted for Inductor; reading them is, for the bundle. Prints seconds, then bytes of memory: the process's peak
since it began, over what it held then.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def _memory(name: str) -> int:
    """VmRSS, or VmHWM, its peak; in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure(answer: Callable[[], Any]) -> None:
    torch.zeros(1, device="cuda")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    before, start = _memory("VmRSS"), time.perf_counter()
    answer()
    print(time.perf_counter() - start, _memory("VmHWM") - before)


def main(kind: str, what: str, inputs: str) -> None:
    given = torch.load(inputs)
    if kind == "bundle":
        for module in ("numpy", "safetensors", "tensorrt"):  # the loader's too; not counted
            importlib.import_module(module)
        measure(lambda: _of_bundle(what, given))
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from benchmarks.speed.subjects import build

    model = build(what, True)
    half = {n: t.half() if t.is_floating_point() else t for n, t in given.items()}
    measure(lambda: _compiled(model, half))


def _of_bundle(reference: str, given: dict[str, torch.Tensor]) -> Any:
    import enginebundle

    session = enginebundle.load(reference, allow_pending=True)
    return {name: tensor.cpu() for name, tensor in session(**given).items()}


def _compiled(model: torch.nn.Module, given: dict[str, torch.Tensor]) -> Any:
    with torch.no_grad():
        found = torch.compile(model.cuda(), dynamic=False)(
            **{name: tensor.cuda() for name, tensor in given.items()}
        )
        torch.cuda.synchronize()
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
