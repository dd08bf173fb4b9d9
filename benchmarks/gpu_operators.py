"""The test cases of every converter on real engines: does the GPU compute what eager PyTorch computes?

    python benchmarks/gpu_operators.py [--workers 12] [--out FILE]     on a machine with a GPU

The cases are those that tests/compiler/convert runs through the CPU evaluator. Each is built with
TensorRT-RTX (for sm_80), executed at every size, and compared with eager torch and with the
evaluator. float32 products are exact here (NVIDIA_TF32_OVERRIDE=0), so a difference comes from a
converter or a layer, not from TF32. Writes benchmarks/results/gpu_operators.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

LIMIT = 240
"""Seconds for one process."""
CHUNK = 20
"""Cases per process: an engine that breaks the CUDA context spoils no more than these."""


def families() -> dict[str, list[Any]]:
    """The case tables by family."""
    from tests.compiler.convert import families

    tables = families.families().items()
    return {name: [c for c in table if c.refused is None] for name, table in tables}


def child(family: str, start: int) -> None:
    """Print one JSON line per case of a chunk."""
    for case in families()[family][start : start + CHUNK]:
        print(json.dumps(_measure(case) | {"case": str(case), "family": family}), flush=True)


def _measure(case: Any) -> dict[str, Any]:
    from compiler.build import tensorrt_rtx
    from compiler.build.builder import BuildRefused
    from compiler.convert.registry import Refusal
    from compiler.network.evaluate import evaluate
    from tests.compiler.convert.harness import converted
    from tests.gpu.execute import execute

    try:
        found = converted(case)
    except RuntimeError as error:  # a torch other than the one that the cases were written for
        return {"state": "eager raised", "detail": str(error)[:300]}
    if isinstance(found, Refusal) or not found.network.layers:
        return {"state": "no engine"}
    try:
        engine = found.engine("sm_80")
    except BuildRefused as error:
        return {"state": "not built", "detail": error.message[:300]}
    worst, against = 0.0, 0.0
    for feed, want in zip(found.feeds, found.wants, strict=True):
        try:
            got = execute(tensorrt_rtx.module(), engine, feed)
        except (AssertionError, RuntimeError) as error:
            return {"state": "not executed", "detail": str(error)[:300]}
        evaluated = evaluate(found.network, feed)
        for name, expected in want.items():
            tolerance = (max(case.atol, 2e-5), max(case.rtol, 1e-4))
            worst = max(worst, _distance(got[name], expected, *tolerance))
            against = max(against, _distance(got[name], evaluated[name], *tolerance))
    state = "agrees" if worst <= 1 else "differs"
    return {"state": state, "worst": worst, "from_evaluator": against}


def _distance(got: Any, want: Any, atol: float, rtol: float) -> float:
    """The largest error in units of the tolerance; 1e9 if a shape, dtype, NaN or integer differs."""
    import torch

    if got.shape != want.shape or got.dtype != want.dtype:
        return 1e9
    if not want.numel():
        return 0.0
    if not want.is_floating_point():
        return 0.0 if torch.equal(got, want) else 1e9
    loose = {torch.float16: 4e-3, torch.bfloat16: 3e-2}.get(want.dtype, 0.0)
    a, b = got.double(), want.double()
    error = (a - b).abs() / (max(atol, loose) + max(rtol, loose) * b.abs())
    error = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, error)
    return float(torch.where(error.isnan(), 1e9, error).clamp(max=1e9).max())


def run(workers: int, out: Path | None) -> int:
    chunks = [(f, s) for f, cases in families().items() for s in range(0, len(cases), CHUNK)]

    def one(chunk: tuple[str, int]) -> list[dict[str, Any]]:
        family, start = chunk
        command = [sys.executable, __file__, "--child", family, str(start)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                out, talk = child.communicate(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                out, talk = child.communicate()
        rows = [json.loads(line) for line in out.splitlines() if line.endswith("}")]
        if child.returncode:
            last = (talk.strip().splitlines() or [f"killed after {LIMIT} s"])[-1]
            rows.append({"family": family, "case": f"chunk {start}, after {len(rows)} cases",
                         "state": "crashed", "detail": last[:300]})  # fmt: skip
        return rows

    with ThreadPoolExecutor(workers) as pool:
        rows = [row for found in pool.map(one, chunks) for row in found]
    counts = Counter(row["state"] for row in rows)
    other = [row for row in rows if row["state"] not in ("agrees", "no engine")]
    for row in other:
        print(row)
    print(dict(counts))
    figures = {"cases": len(rows), "states": dict(counts), "not_agreeing": other}
    path = results.write("gpu_operators", figures, show=False)
    if out is not None:
        out.write_text(path.read_text())
    return 0 if not other else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("FAMILY", "START"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]))
        return 0
    return run(options.workers, options.out)


if __name__ == "__main__":
    sys.exit(main())
