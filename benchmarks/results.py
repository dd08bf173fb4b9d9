"""Write a benchmark's figures to benchmarks/results/NAME.json, with machine, versions and date."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from enginebundle.runtimes.versions import name_and_version

FOLDER = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "tensorrt-rtx-cu13", "ray", "transformers", "timm", "numpy")


def circumstances() -> dict[str, Any]:
    """The machine, versions and date of a measurement."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = name_and_version(metadata.distribution(name))[1]
        except metadata.PackageNotFoundError:
            continue
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * size / 2**30),
        "system": platform.platform(),
        "load_average_15_min": round(os.getloadavg()[2], 1),
    }
    return {
        "machine": machine,
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def gpu() -> str:
    """This machine's GPU and its architecture."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()}, sm_{major}{minor}"


def write(name: str, figures: dict[str, Any], *, show: bool = True) -> Path:
    """Write the figures and their circumstances to the results folder, and print them if `show`."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(figures | circumstances(), indent=2) + "\n")
    if show:
        print(json.dumps(figures, indent=2))
    print(f"written to {path}", file=sys.stderr)
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
