"""What `import enginebundle` costs an inference service, beyond Python's own startup.

    python benchmarks/import_time.py [--runs 15]

Times whole interpreter runs with and without the import, alternating, and takes the median of each.
Prints the difference and writes benchmarks/results/import_time.json. Target: under 60 ms.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

HEAVY = (
    "torch", "tensorrt", "tensorrt_rtx", "ray", "pydantic", "transformers", "pyarrow", "numpy", "obstore",
)  # fmt: skip
"""Modules that the import must not import: each is imported on first use."""


def imported() -> set[str]:
    """The top-level modules of a fresh interpreter after `import enginebundle`."""
    code = (
        "import sys, enginebundle\n"
        "assert enginebundle.__file__, 'an empty namespace package: nothing was measured'\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    return set(_python(code).split())


def cost(runs: int, python: str = sys.executable, folder: Path = ROOT) -> dict[str, float]:
    """Milliseconds of interpreters without and with the import, which take turns: of a clock, of a processor."""
    pairs = [
        [_seconds(python, folder, code) for code in ("pass", "import enginebundle")]
        for _ in range(runs)
    ]
    (bare, bare_busy), (full, full_busy) = (
        [median(run[kind] for run in column) * 1e3 for kind in (0, 1)]
        for column in zip(*pairs, strict=True)
    )
    return {
        "python_start_ms": round(bare, 1),
        "with_import_ms": round(full, 1),
        "import_ms": round(full - bare, 1),
        "import_processor_ms": round(full_busy - bare_busy, 1),
        "ratio": round(full / bare, 2),
        "runs": runs,
    }


def _seconds(python: str, folder: Path, code: str) -> tuple[float, float]:
    """Seconds of one fresh interpreter that runs `code`: of a clock, and of a processor."""
    before, start = _busy(), time.perf_counter()
    subprocess.run([python, "-c", code], cwd=folder, check=True)
    return time.perf_counter() - start, _busy() - before


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs: int = parser.parse_args().runs
    heavy = sorted(
        imported() & set(HEAVY)
    )  # first, because it also writes byte code, as an installation does
    results.write("import_time", cost(runs) | {"heavy_modules": heavy})
    return 1 if heavy else 0


if __name__ == "__main__":
    sys.exit(main())
