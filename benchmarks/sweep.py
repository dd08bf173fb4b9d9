"""All models of zoo.SWEEP through the whole compiler: which compile, which are whole, which are refused.

    python benchmarks/sweep.py [--only NAME ...] [--keep] [--jobs 1] [--target rtx:sm_89] [--json]

Each model is traced with a dynamic batch (and sequence), lowered, partitioned, converted, built without
a GPU and evaluated on the CPU at its profile's min, opt and max against eager PyTorch, in a fork of this
process. A model is `whole` if it becomes one engine with every node converted, for every size of its
inputs; one whose length had to be fixed to a number, as where Python loops over it, is counted apart as
`fixed`. A model compiles if its numbers are right, whatever runs in torch. Models without a program to
compile (torch.export refuses them, or eager PyTorch itself returns random results) are listed
separately. Prints the table and every refusal and, if all models ran, writes
benchmarks/results/sweep.json. With --keep it is written whatever ran: rows of models that did not run stay,
and each row says when it was measured. Exits 1 if a model that has a program fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import coverage, results, zoo  # noqa: E402
from benchmarks.coverage import Row  # noqa: E402
from benchmarks.forked import Failed, run_forked  # noqa: E402

LIMIT = 600.0
"""Seconds for one model."""

NOT_TRACED = ("TraceRefused", "GoldensRefused")
"""The refusals of models that torch can't export, or that have no result to compare with."""


def measure(name: str, target: str) -> Row:
    """One model's row. `refused` holds kind, code and message if the model does not compile."""
    start = time.perf_counter()
    found = run_forked(partial(coverage.measure, name, True, target), LIMIT)
    if isinstance(found, Failed):
        message = found.message.replace(f"{ROOT}/", "")
        refused = {"kind": found.kind, "code": found.code, "message": message[:2000]}
        found = {"model": name, "ok": False, "failed": message[:300], "refused": refused}
    seconds = time.perf_counter() - start
    row: Row = found | {"date": results.circumstances()["date"]}
    said = "whole" if row["ok"] else row.get("failed", "NOT whole").partition("\n")[0]
    print(f"{name} ({seconds:.0f} s): {said}", file=sys.stderr, flush=True)
    return row


def summary(rows: list[Row]) -> dict[str, list[str]]:
    """Names by outcome: whole, whole at a fixed length, partly in torch, without a program, failed."""
    kinds = ("whole", "fixed", "partly", "not_traced", "failed")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for row in rows:
        if "refused" in row:
            kind = "not_traced" if row["refused"]["kind"] in NOT_TRACED else "failed"
        else:
            kind = ("fixed" if row["fixed"] else "whole") if row["ok"] else "partly"
        found[kind].append(row["model"])
    return found


def with_kept(rows: list[Row], before: list[Row]) -> list[Row]:
    """The rows, and those of `before` for models that are not among them, in the order of the zoo."""
    found = {row["model"]: row for row in (*before, *rows)}
    chosen = [entry for entry in zoo.SWEEP if entry.name in found]
    return [{"fixed": entry.fixed, **found[entry.name]} for entry in chosen]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [entry.name for entry in zoo.SWEEP]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument(
        "--keep", action="store_true", help="write these rows beside those there are"
    )
    parser.add_argument("--jobs", type=int, default=1, help="models at the same time")
    parser.add_argument("--target", default="rtx:sm_89")
    parser.add_argument(
        "--json", action="store_true", help="print the rows as JSON instead of the table"
    )
    options = parser.parse_args()
    prepare(options.target)
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(partial(measure, target=options.target), options.only))
    found = summary(rows)
    if options.json:
        print(json.dumps(rows))
        return 1 if found["failed"] else 0
    print(coverage.table(rows))
    for kind, members in found.items():
        print(f"{kind}: {len(members)}" + (f" ({', '.join(members)})" if kind != "whole" else ""))
    if options.keep:
        written = json.loads((results.FOLDER / "sweep.json").read_text())
        rows = with_kept(rows, written["models"])
        found = summary(rows)
    if options.keep or options.only == names:
        counts = {kind: len(members) for kind, members in found.items()}
        figures = {"target": options.target, "of": len(rows), **counts, "models": rows}
        results.write("sweep", figures, show=False)
    return 1 if found["failed"] else 0


def prepare(target: str) -> None:
    """Import what the models need, by measuring two. One thread: a fork does not copy thread pools."""
    import torch

    torch.set_num_threads(1)
    for name in ("bert-classifier", "timm-lcnet_050"):
        coverage.measure(name, True, target)


if __name__ == "__main__":
    sys.exit(main())
