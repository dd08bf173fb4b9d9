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
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.import_time import cost  # noqa: E402

MEGABYTES, MILLISECONDS = 80, 60


def megabytes(folder: Path) -> dict[str, float]:
    """What lies directly in a folder, by name: the bytes of all files below, in millions."""
    return {
        entry.name: sum(f.stat().st_size for f in (entry, *entry.rglob("*")) if f.is_file()) / 1e6
        for entry in folder.iterdir()
    }


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
        cost(1, str(python), Path(folder))  # writes byte code
        found = cost(runs, str(python), Path(folder))
    total = sum(added.values())
    largest = sorted(added.items(), key=lambda one: -one[1])[:8]
    results.write(
        "install_size",
        {
            "megabytes": round(total, 1),
            "megabytes_by_folder": {name: round(size, 1) for name, size in largest},
            **found,
            "targets": {"megabytes": MEGABYTES, "import_ms": MILLISECONDS},
        },
    )
    return int(total >= MEGABYTES or found["import_ms"] >= MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
