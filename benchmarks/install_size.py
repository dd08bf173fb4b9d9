"""What `pip install .` brings to an inference service, and what the import costs there.

    python benchmarks/install_size.py [--runs 15]

Installs the project alone, without extras, into a new virtual environment with the pinned versions, measures all
that pip added, and times `import enginebundle` there as benchmarks/import_time.py does. Needs the package index.
Writes benchmarks/results/install_size.json. Target: under 80 MB, under 60 ms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

MEGABYTES, MILLISECONDS = 80, 60


def megabytes(folder: Path) -> dict[str, float]:
    """What lies directly in a folder, by name: the bytes of all files below, in millions."""
    return {
        entry.name: sum(f.stat().st_size for f in (entry, *entry.rglob("*")) if f.is_file()) / 1e6
        for entry in folder.iterdir()
    }


def seconds(python: Path, code: str) -> float:
    """Wall seconds of one fresh interpreter that runs `code`."""
    start = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, cwd=python.parent)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs: int = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin/python")
        (packages,) = Path(folder, "lib").glob("python*/site-packages")
        before = megabytes(packages)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c",
             ROOT / "constraints.txt", ROOT],
            check=True,
        )  # fmt: skip
        added = {name: size - before.get(name, 0.0) for name, size in megabytes(packages).items()}
        pairs = [
            (seconds(python, "pass"), seconds(python, "import enginebundle"))
            for _ in range(runs + 1)
        ][1:]  # the first writes byte code
    bare, with_import = (median(column) for column in zip(*pairs, strict=True))
    total, cost = sum(added.values()), (with_import - bare) * 1e3
    largest = sorted(added.items(), key=lambda one: -one[1])[:8]
    results.write(
        "install_size",
        {
            "megabytes": round(total, 1),
            "megabytes_by_folder": {name: round(size, 1) for name, size in largest},
            "import_ms": round(cost, 1),
            "python_start_ms": round(bare * 1e3, 1),
            "runs": runs,
            "targets": {"megabytes": MEGABYTES, "import_ms": MILLISECONDS},
        },
    )
    return int(total >= MEGABYTES or cost >= MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
