"""Judge PyTorch's operator samples, record the results, and write docs/operators.md from them.

    python -m tests.opinfo                      judge all samples, write the record and the page
    python -m tests.opinfo --share 25           compare one sample in 25, and one at least of each operator,
                                                with the record; writes nothing
    python -m tests.opinfo --only abs,sort      compare some operators with the record
    python -m tests.opinfo --write-docs         write the page from the committed record

A run keeps its rows as JSON lines in `--rows` and resumes from there. The exit code is 1 if a sample
is wrong, or was whole in TensorRT according to the record and no longer is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.opinfo import page, record

LIMITS = {"float32": None, "float16": 20, "int64": 20, "bool": 20}
"""How many samples of each operator are judged, chosen by hash; None for all."""
ROWS = Path("build/opinfo.jsonl")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=int, default=1, help="one in so many samples")
    parser.add_argument("--only", help="operators by OpInfo's names, separated by commas")
    parser.add_argument("--dtypes", default=",".join(LIMITS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="time limit for one sample")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    if not options.write_docs:
        whole = options.share == 1 and options.only is None
        rows = judge_all(options, keep=whole)
        if not whole:
            return verdict(rows)
        record.write(rows, LIMITS)
    page.PATH.write_text(page.text())
    return 0


def judge_all(options: argparse.Namespace, keep: bool) -> list[dict[str, Any]]:
    """Run the lane. With `keep`, rows of an earlier run are kept and new ones appended."""
    from dataclasses import replace

    from tests.opinfo.judge import judge
    from tests.opinfo.lane import pieces, run

    options.rows.parent.mkdir(parents=True, exist_ok=True)
    if not keep:
        options.rows.unlink(missing_ok=True)
    rows = []
    if options.rows.exists():
        rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    done = frozenset(row["sample"] for row in rows)
    todo = pieces({d: LIMITS[d] for d in options.dtypes.split(",")}, options.share, every=True)
    if options.only is not None:
        todo = [piece for piece in todo if piece.op in options.only.split(",")]
    todo = [replace(piece, done=done) for piece in todo]
    log = options.rows.with_suffix(".log")
    with options.rows.open("a") as out:
        for row in run(todo, judge, options.jobs, seconds=options.seconds, log=log):
            out.write(json.dumps(row) + "\n")
            out.flush()
            rows.append(row)
    return rows


def verdict(rows: list[dict[str, Any]]) -> int:
    """Print what is worse than the record, and the counts; return the exit code."""
    states = {
        f"{group.op}/{group.dtype}/{place}": group.state
        for group in record.groups(record.read())
        for place in group.places
    }
    complaints = [text for row in rows if (text := record.worse(row, states))]
    print(*complaints, sep="\n")
    print(dict(Counter(row["state"] for row in rows)))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
