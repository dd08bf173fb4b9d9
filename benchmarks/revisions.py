"""Two checkouts side by side: is this one slower than the other?

    python benchmarks/revisions.py OTHER [--repeat 5] [--only NAME ...]

OTHER is a folder with another revision (`git worktree add OTHER REVISION`). Measured in turn, this one
and the other: from nn.Module to engine as benchmarks/compile.py does it, and `kiln run` of
tests/e2e/farm/small.yaml where every task is cached, each in a process of its own, with this
interpreter. Prints the ratio of each pair's wall seconds (this / other), median first, and writes
benchmarks/results/revisions.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

MODELS = ("bert-base", "vit-base", "resnet50")
NO_CHANGE = "kiln run, no change"
MANIFEST = "tests/e2e/farm/small.yaml"


def spent(folder: Path, *command: str, **variables: str) -> tuple[float, str]:
    """Wall seconds and standard output of a Python process that imports this checkout."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"} | variables
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} in {folder}: {done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout


def revision_of(folder: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def compiled(folder: Path, name: str) -> float:
    """Seconds of all stages from nn.Module to engine, without imports and the model's making."""
    _, said = spent(folder, "benchmarks/compile.py", "--child", name, "kiln")
    stages = json.loads(said.splitlines()[-1])["stages"]
    return float(sum(wall for wall, _ in stages.values()))


def run_again(folder: Path, store: str) -> float:
    return spent(folder, "-m", "orchestrator.cli", "run", MANIFEST, "--store", store)[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    names = (NO_CHANGE, *MODELS)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    folders = {"this": ROOT, "other": options.other.resolve()}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as stores:
        for name in options.only:
            seconds: dict[str, list[float]] = {which: [] for which in folders}
            if name == NO_CHANGE:
                for which, folder in folders.items():
                    run_again(folder, f"{stores}/{which}")  # the first run builds
            for turn in range(options.repeat):
                order = list(folders) if turn % 2 else list(reversed(folders))
                for which in order:
                    if name == NO_CHANGE:
                        found = run_again(folders[which], f"{stores}/{which}")
                    else:
                        found = compiled(folders[which], name)
                    seconds[which].append(round(found, 3))
            pairs = zip(seconds["this"], seconds["other"], strict=True)
            ratios = sorted(round(a / b, 3) for a, b in pairs)
            rows[name] = {"ratio": statistics.median(ratios), "ratios": ratios, "seconds": seconds}
            print(f"{name}: {rows[name]['ratio']} {ratios}", flush=True)
    revisions = {which: revision_of(folder) for which, folder in folders.items()}
    results.write("revisions", {"revisions": revisions, "rows": rows}, show=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
