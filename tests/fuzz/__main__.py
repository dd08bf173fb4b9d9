"""Random programs through the whole compiler: in the CPU evaluator and, with --gpu, on real engines.

    python -m tests.fuzz --programs 2000 [--first 0] [--gpu] [--jobs 2] [--minutes 30]

Prints each program that is wrong or was not built, as Python; its number recreates it. The exit code
is 1 if there is one. On a GPU, float32 products are exact (TF32 is off), and
benchmarks/results/gpu_fuzz.json is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

for _name, _value in (("NVIDIA_TF32_OVERRIDE", "0"), ("OMP_NUM_THREADS", "1")):
    os.environ.setdefault(_name, _value)

from benchmarks import results  # noqa: E402
from tests.fuzz.judge import on_cpu, on_gpu  # noqa: E402
from tests.fuzz.programs import Seeds  # noqa: E402
from tests.opinfo.lane import run  # noqa: E402

CHUNK = 25
"""How many programs a worker is given at once."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--gpu", action="store_true", help="execute the engines")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    numbers = range(options.first, options.first + options.programs, CHUNK)
    todo = [Seeds(i, min(CHUNK, numbers.stop - i)) for i in numbers]
    judged, start = (on_gpu, "spawn") if options.gpu else (on_cpu, "fork")
    rows = []
    for row in run(todo, judged, options.jobs, until=end, start=start):  # type: ignore[arg-type]
        rows.append(row)
        if row["state"] not in ("right", "refused"):
            print(
                f"{row['sample']}: {row['state']}: {row['reason']}\n{row.get('text', '')}\n",
                flush=True,
            )
    counts = Counter(row["state"] for row in rows)
    print(dict(counts))
    if options.gpu:
        wrong = [row for row in rows if row["state"] not in ("right", "refused")]
        programs = f"{options.first} to {options.first + options.programs - 1}, as far as time went"
        figures = {
            "gpu": results.gpu(),
            "programs": programs,
            "states": dict(counts),
            "wrong": wrong,
        }
        results.write("gpu_fuzz", figures, show=False)
    return 0 if set(counts) <= {"right", "refused"} else 1


if __name__ == "__main__":
    sys.exit(main())
