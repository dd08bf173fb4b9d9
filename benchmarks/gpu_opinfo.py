"""A fixed fifth of PyTorch's operator samples on real engines.

    python benchmarks/gpu_opinfo.py [--workers 16] [--minutes 8] [--out FILE]     on a GPU machine

Each sample of tests/opinfo that becomes one network is built with TensorRT-RTX (for sm_80), executed,
and compared with eager torch on the CPU and with the CPU evaluator. float32 products are exact
(NVIDIA_TF32_OVERRIDE=0). Workers are fresh processes because CUDA does not survive a fork. When the
minutes are over, the results so far are written. Writes benchmarks/results/gpu_opinfo.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _name, _value in (("NVIDIA_TF32_OVERRIDE", "0"), ("OMP_NUM_THREADS", "1")):
    os.environ.setdefault(_name, _value)
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, whose coverage.py would hide a package

from benchmarks import results  # noqa: E402

SHARE = 5
LIMIT = 20
"""Samples per operator and dtype, one in SHARE of which runs."""
FIGURES = 1e9
"""What stands for an infinite distance in the results: JSON has no infinity."""


@dataclass(frozen=True)
class Measured:
    """`state`: `agrees`, `differs`, `not built`, `not executed`, or as in tests/opinfo without an engine.

    `worst` is the largest error against eager torch, in units of the tolerance, and `from_evaluator`
    the largest against the evaluator. After a `fatal` sample the process can't be used any more.
    """

    sample: str
    state: str
    reason: str = ""
    worst: float = 0.0
    from_evaluator: float = 0.0
    fatal: bool = False


def measure(sample: Any) -> Measured:
    """Do with a sample what tests/opinfo does, then run its engine on this machine's GPU."""
    import torch

    from compiler.build import tensorrt_rtx
    from compiler.build.builder import BuildRefused
    from tests.gpu.execute import execute
    from tests.opinfo.judge import Whole, examine

    found = examine(sample)
    if not isinstance(found, Whole):
        return Measured(sample.id, found.state, found.reason)
    if not found.network.layers:
        return Measured(sample.id, "constant")
    try:
        engine = found.engine("sm_80")
    except BuildRefused as error:
        return Measured(sample.id, "not built", error.message[:300])
    try:
        got = found.results(execute(tensorrt_rtx.module(), engine, found.feeds))
        torch.cuda.synchronize()
    except (AssertionError, RuntimeError) as error:
        fatal = "CUDA" in str(error)
        return Measured(sample.id, "not executed", str(error)[:300], fatal=fatal)
    worst, against, detail = 0.0, 0.0, ""
    for name, reference in found.wants.items():
        error = reference.distance(got[name])
        if error > max(worst, 1.0):
            detail = reference.describe(got[name])
        worst = max(worst, error)
        evaluated = replace(reference, want=found.evaluated[name], exact=None)
        against = max(against, evaluated.distance(got[name]))
    state = "agrees" if worst <= 1 else "differs"
    return Measured(sample.id, state, detail, min(worst, FIGURES), min(against, FIGURES))


def run(workers: int, minutes: float, limit: int) -> int:
    from enginebundle.format.digest import digest_json
    from tests.opinfo.lane import pieces
    from tests.opinfo.lane import run as run_lane
    from tests.opinfo.samples import DTYPES

    end = time.monotonic() + 60 * minutes
    todo = pieces(dict.fromkeys(DTYPES, limit), SHARE)
    todo.sort(
        key=lambda piece: digest_json([piece.op, piece.dtype])
    )  # a cut hits no operator more than others
    rows = []
    for row in run_lane(todo, measure, workers, until=end, start="spawn"):
        rows.append(row)
        if row["state"] in ("differs", "not built", "not executed", "wrong"):
            print(row, flush=True)
    states = {
        dtype: dict(Counter(r["state"] for r in rows if f"/{dtype}/" in r["sample"]))
        for dtype in DTYPES
    }
    run_ = [row for row in rows if row["state"] in ("agrees", "differs")]
    other = ("differs", "not built", "not executed", "wrong")
    figures = {
        "share": f"one in {SHARE} of up to {limit} samples of each operator and dtype, by hash",
        "finished": time.monotonic() < end,
        "samples": len(rows),
        "states": states,
        "engines_beyond_the_bound_of_the_evaluator": sum(r["from_evaluator"] > 1 for r in run_),
        "not_as_evaluated": [row for row in run_ if row["from_evaluator"] > 1],
        "not_agreeing": [row for row in rows if row["state"] in other],
    }
    print(states)
    results.write("gpu_opinfo", figures, show=False)
    return 0 if not figures["not_agreeing"] else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--limit", type=int, default=LIMIT, help="samples per operator and dtype")
    parser.add_argument("--out", type=Path, help="a second copy of the results file")
    options = parser.parse_args()
    if importlib.util.find_spec("expecttest") is None:
        print("torch's operator samples import expecttest: pip install expecttest", file=sys.stderr)
        return 2
    code = run(options.workers, options.minutes, options.limit)
    if options.out is not None:
        options.out.write_text((results.FOLDER / "gpu_opinfo.json").read_text())
    return code


if __name__ == "__main__":
    sys.exit(main())
