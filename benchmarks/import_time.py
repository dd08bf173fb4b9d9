"""What `import enginebundle` costs an inference service, beyond Python's own startup.

    python benchmarks/import_time.py [--runs 15]

Times whole interpreter runs with and without the import, alternating, and takes the median of each.
Prints the difference and writes benchmarks/results/import_time.json. Target: under 60 ms.
"""

from __future__ import annotations

import argparse
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


def seconds(code: str) -> float:
    """Wall seconds of one fresh interpreter that runs `code`."""
    start = time.perf_counter()
    _python(code)
    return time.perf_counter() - start


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
    pairs = [(seconds("pass"), seconds("import enginebundle")) for _ in range(runs)]
    bare, with_import = (median(column) for column in zip(*pairs, strict=True))
    results.write(
        "import_time",
        {
            "python_start_ms": round(bare * 1e3, 1),
            "with_import_ms": round(with_import * 1e3, 1),
            "import_ms": round((with_import - bare) * 1e3, 1),
            "ratio": round(with_import / bare, 2),
            "runs": runs,
            "heavy_modules": heavy,
        },
    )
    return 1 if heavy else 0


if __name__ == "__main__":
    sys.exit(main())
