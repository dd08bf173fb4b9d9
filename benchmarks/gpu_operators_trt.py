"""Every converter's cases on engines of full TensorRT: does the GPU give what eager PyTorch gives?

    python benchmarks/gpu_operators_trt.py [--workers 3] [--batch 40] [--seconds 500] [--again]

On a machine with a GPU and TensorRT. The cases are those of tests/compiler/convert, many in one
engine (gpu_merged.py), without TF32, at optimization level 0, executed at every size. Rows are kept
in benchmarks/results/gpu_operators_trt.jsonl as they come and a second call goes on where the first
stopped; benchmarks/results/gpu_operators_trt.json sums them up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import gpu_merged, results  # noqa: E402
from benchmarks.gpu_operators import _distance, families  # noqa: E402

ROWS = results.FOLDER / "gpu_operators_trt.jsonl"


def cases() -> list[tuple[str, Any]]:
    """(family, case) in a fixed order."""
    return [(family, case) for family, table in families().items() for case in table]


def part(case: Any) -> gpu_merged.Part | gpu_merged.Row:
    """What to build and judge of a case, or its row where there is nothing to build."""
    from compiler.convert.registry import Refusal
    from compiler.network.evaluate import evaluate
    from tests.compiler.convert.harness import converted

    try:
        found = converted(case)
    except RuntimeError as error:  # another torch than the one the cases were written for
        return {"state": "eager raised", "detail": str(error)[:300]}
    if isinstance(found, Refusal) or not found.network.layers:
        return {"state": "no engine"}
    bound = (max(case.atol, 2e-5), max(case.rtol, 1e-4))

    def judge(outputs: Sequence[Mapping[str, Any]]) -> gpu_merged.Row:
        worst = against = 0.0
        for feed, want, got in zip(found.feeds, found.wants, outputs, strict=True):
            evaluated = evaluate(found.network, feed)
            for name, expected in want.items():
                worst = max(worst, _distance(got[name], expected, *bound))
                against = max(against, _distance(got[name], evaluated[name], *bound))
        state = "agrees" if worst <= 1 else "differs"
        return {"state": state, "worst": worst, "from_evaluator": against}

    return gpu_merged.Part(found.network, found.graph, found.sizes, found.feeds, judge)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--family", action="append", help="only this family")
    parser.add_argument("--again", action="store_true", help="judge what is on record, too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    table = cases()
    if options.worker:
        import tensorrt

        gpu_merged.worker(lambda number: part(table[number][1]), gpu_merged.Batches(tensorrt))
        return 0
    keep = ROWS.exists() and not options.again
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if keep else []
    known = {(row["family"], row["case"]) for row in rows}
    wanted = [
        number
        for number, (family, case) in enumerate(table)
        if (family, str(case)) not in known and (not options.family or family in options.family)
    ]
    command = [sys.executable, __file__, "--worker"]
    with ROWS.open("a" if keep else "w") as record:
        for number, row in gpu_merged.run(
            command, wanted, options.batch, options.workers, options.seconds, limit=150
        ):
            family, case = table[number]
            row = {"family": family, "case": str(case)} | row
            rows.append(row)
            record.write(json.dumps(row) + "\n")
            record.flush()
            if row["state"] not in ("agrees", "no engine"):
                print(json.dumps(row)[:400], flush=True)
    counts = Counter(row["state"] for row in rows)
    other = [row for row in rows if row["state"] not in ("agrees", "no engine")]
    print(f"{len(rows)} of {len(table)} cases: {dict(counts)}")
    figures = {"cases": len(table), "states": dict(counts), "not_agreeing": other}
    results.write("gpu_operators_trt", figures, show=False)
    return 0 if not other and len(rows) == len(table) else 1


if __name__ == "__main__":
    sys.exit(main())
