"""Is a run without changes slower than in another revision? 1,000 models, 5 targets, 2 profiles.

    python benchmarks/unchanged.py OTHER [--models 1000] [--repeat 3]

OTHER is a folder with another revision (`git worktree add OTHER REVISION`). For each of the two, one model
is really traced, built and validated. A second run then publishes all of them: every other model's steps are answered
with the first one's outputs under a program digest of its own, so that each task has its own key, result
and list of what was read, and each version its own signature and evidence. Measured in turn, this revision
and the other, each in a process of its own: `kiln plan` and `kiln run`, where every task is cached. Prints the
ratio of each pair's wall seconds (this / other) and of their processor seconds, which other work on the
machine disturbs less, each median first, and writes benchmarks/results/unchanged.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.revisions import revision_of, spent  # noqa: E402

FILL = str(Path(__file__).with_name("unchanged_fill.py"))
MODULES = 20
TARGETS = ("torch:cpu", "rtx:sm_75", "rtx:sm_80", "rtx:sm_86", "rtx:sm_89")
CODE = """from pathlib import Path

import torch


def make(number):
    scale = float((Path(__file__).parent / "weights" / f"{number % 50}.txt").read_text())
    model = torch.nn.Linear(4, 3)
    for weights in model.parameters():
        weights.data.fill_(scale)
    return model
"""


def lay_out(folder: Path, count: int) -> None:
    """A package of twenty modules that each make fifty models, with a file of weights for each of fifty."""
    package = folder / "zoo"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").touch()
    for number in range(MODULES):
        (package / f"m{number}.py").write_text(CODE)
    for number in range(50):
        (package / "weights" / f"{number}.txt").write_text(str(number + 1))
    models = [
        {
            "name": f"model{number}",
            "source": {"entrypoint": f"zoo.m{number % MODULES}:make", "kwargs": {"number": number}},
        }
        for number in range(count)
    ]
    defaults = {
        "inputs": {"x": {"dtype": "float32", "shape": ["b", 4]}},
        "profiles": {"few": {"b": [1, 2, 4]}, "many": {"b": [8, 16, 32]}},
        "min_nodes": 1,
        "targets": list(TARGETS),
    }
    for name, some in (("first", models[:1]), ("all", models)):
        (folder / f"{name}.yaml").write_text(json.dumps({"defaults": defaults, "models": some}))


def processor() -> float:
    """Processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ratios(seconds: dict[str, list[float]]) -> list[float]:
    """Of each pair, this / other, ascending."""
    pairs = zip(seconds["this"], seconds["other"], strict=True)
    return sorted(round(a / b, 3) for a, b in pairs)


def home(work: Path) -> dict[str, str]:
    return {"ENGINEBUNDLE_HOME": str(work / "home")}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    folders = {"this": ROOT, "other": options.other.resolve()}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        works = {which: Path(temporary, which) for which in folders}
        for which, folder in folders.items():
            lay_out(works[which] / "ws", options.models)
            filled, _ = spent(folder, FILL, str(works[which]), **home(works[which]))
            print(f"{which}: filled in {filled:.0f} s", flush=True)
        for name in ("plan", "run"):
            wall: dict[str, list[float]] = {which: [] for which in folders}
            used: dict[str, list[float]] = {which: [] for which in folders}
            for turn in range(options.repeat):
                for which in list(folders) if turn % 2 else list(reversed(folders)):
                    work = works[which]
                    how = ("-m", "orchestrator.cli", name, str(work / "ws/all.yaml"))
                    how += ("--store", str(work / "store"))
                    began = processor()
                    found, _ = spent(folders[which], *how, **home(work))
                    wall[which].append(round(found, 2))
                    used[which].append(round(processor() - began, 2))
            rows[name] = {
                "ratio": statistics.median(ratios(wall)), "ratios": ratios(wall), "seconds": wall,
                "processor_ratio": statistics.median(ratios(used)), "processor_ratios": ratios(used),
                "processor_seconds": used,
            }  # fmt: skip
            print(f"kiln {name}, no change: {rows[name]}", flush=True)
    shape = {"models": options.models, "targets": len(TARGETS), "profiles": 2}
    revisions = {which: revision_of(folder) for which, folder in folders.items()}
    results.write("unchanged", {"revisions": revisions, **shape, "rows": rows}, show=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
