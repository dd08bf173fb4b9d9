"""Judge PyTorch's operator samples: `python -m tests.opinfo [--dtype float32] [--share 0]`.

Needs `expecttest` (torch's own test helpers import it). Prints one line for every sample that is
neither whole in TensorRT nor excluded, then the counts; exits 1 if any is wrong. `--share K` takes
the samples whose hash falls into the K-th fifth.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import torch

from tests.opinfo.judge import judge
from tests.opinfo.samples import operators, samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--limit", type=int, default=3, help="samples of each operator")
    parser.add_argument("--share", type=int, choices=range(5))
    parser.add_argument("--build", action="store_true", help="build each with TensorRT-RTX too")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for op in operators():
        for sample in samples(op, getattr(torch, options.dtype), options.limit):
            if options.share is not None and sample.fifth != options.share:
                continue
            verdict = judge(sample, options.build)
            counts[verdict.state] += 1
            if verdict.state in ("torch", "wrong"):
                print(f"{verdict.sample}: {verdict.state}: {verdict.reason}", flush=True)
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
