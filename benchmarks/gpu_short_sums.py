"""Which engines compute correctly when a reduction follows a sum over few elements?

    python benchmarks/gpu_short_sums.py [--workers 16] [--cases 400]     on a GPU machine

Each case normalizes x [a, b, ...] along one axis (softmax, minus its sum, minus the logarithm of its
summed powers, or over its length), multiplies it with a second input, and reduces that along other
axes. It is built for sm_80 in three ways, executed, and compared with the CPU evaluator: as plain
layers ("plain"), with a dynamic first size ("dynamic"), and as the converters write it
("lengthened", see compiler/convert/short_sums.py). Writes benchmarks/results/gpu_short_sums.json.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name, _value in (("NVIDIA_TF32_OVERRIDE", "0"), ("OMP_NUM_THREADS", "1")):
    os.environ.setdefault(_name, _value)
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, whose coverage.py would hide a package

from benchmarks import results  # noqa: E402

SHAPES = (
    (2, 3, 4, 5), (1, 8, 2, 2), (8, 2, 2), (4, 3, 2), (6, 5), (5, 5, 5), (6, 6, 7), (2, 8, 8, 2),
    (3, 300), (4, 16, 16), (2, 1024), (7, 9, 12), (4, 32, 32), (32, 32, 32), (2, 12, 64, 64),
)  # fmt: skip
NORMS = ("softmax", "sum", "logsumexp", "length")
WAYS = ("plain", "dynamic", "lengthened")
OFF = 1e-3
"""A share of the largest result: an engine that is off by more is wrong."""


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    norm: str
    along: int
    axes: tuple[int, ...]
    reduction: str


def cases() -> Iterator[Case]:
    for shape in SHAPES:
        rank = len(shape)
        sets = [a for k in range(1, rank + 1) for a in itertools.combinations(range(rank), k)]
        for norm, along, axes in itertools.product(NORMS, range(rank), sets):
            if axes != (along,):
                yield from (Case(shape, norm, along, axes, op) for op in ("SUM", "MAX"))


def measure(case: Case) -> dict[str, float | str]:
    """The largest error of each way, as a share of the largest result, or why it did not run."""
    return {way: _measure(case, way) for way in WAYS}


def _measure(case: Case, way: str) -> float | str:
    import torch

    from compiler.build import tensorrt_rtx
    from compiler.build.builder import EngineOptions, build_engine
    from compiler.convert import short_sums
    from compiler.network.evaluate import evaluate
    from enginebundle.format.spec import Profile, Range
    from tests.compiler.network.cases import NetworkCase
    from tests.compiler.network.test_layers import border
    from tests.gpu.execute import execute

    dynamic = way == "dynamic"
    sizes = (None, *case.shape[1:]) if dynamic else case.shape
    short_sums.LENGTH = 8 if way == "lengthened" else 0

    def write(net: Any, x: Any, factor: Any) -> Any:
        normal = normalized(net, x, case.norm, case.along)
        return net.reduce(net.mul(normal, factor), case.reduction, list(case.axes), False)

    one = NetworkCase("case", write, ((torch.float32, sizes), (torch.float32, sizes)))
    network, first = one.network(), case.shape[0]
    symbols = (("n", Range(1, first, first + 3)),) if dynamic else ()
    options = EngineOptions((Profile("p", symbols),), capabilities=("sm_80",))
    feeds = one.feeds(first)
    try:
        engine = build_engine(tensorrt_rtx.module(), network, border(one), options)
        got = execute(tensorrt_rtx.module(), engine, feeds)["y0"]
    except (AssertionError, RuntimeError) as error:
        return str(error)[:200]
    want = evaluate(network, feeds)["y0"]
    return float((got - want).abs().max() / want.abs().max().clamp(min=1e-2))


def normalized(net: Any, x: Any, norm: str, axis: int) -> Any:
    if norm == "softmax":
        return net.softmax(x, axis)
    if norm == "sum":
        return net.sub(x, net.reduce(x, "SUM", [axis], True))
    if norm == "logsumexp":
        powers = net.reduce(net.unary(x, "EXP"), "SUM", [axis], True)
        return net.sub(x, net.unary(powers, "LOG"))
    squares = net.reduce(net.mul(x, x), "SUM", [axis], True)
    return net.div(x, net.unary(net.add(squares, 1e-3), "SQRT"))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--cases", type=int, default=400, help="how many cases, drawn with a fixed seed"
    )
    options = parser.parse_args()
    every = list(cases())
    chosen = random.Random(0).sample(every, min(options.cases, len(every)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        errors = list(pool.map(measure, chosen, chunksize=4))
    wrong: dict[str, dict[str, list[int]]] = defaultdict(lambda: {way: [0, 0] for way in WAYS})
    for case, found in zip(chosen, errors, strict=True):
        for way, error in found.items():
            count = wrong[str(case.shape[case.along])][way]
            count[0] += isinstance(error, str) or not error <= OFF
            count[1] += 1
    table = dict(sorted(wrong.items(), key=lambda item: int(item[0])))
    rows = [vars(case) | {"errors": e} for case, e in zip(chosen, errors, strict=True)]
    figures = {
        "gpu": results.gpu(),
        "wrong_of_all_by_length_of_the_normalized_axis": table,
        "cases": rows,
    }
    results.write("gpu_short_sums", figures, show=False)
    for length, counts in table.items():
        print(length, *(f"{way}: {a} of {b}" for way, (a, b) in counts.items()), sep="\t")
    return int(any(counts["lengthened"][0] for counts in table.values()))


if __name__ == "__main__":
    sys.exit(main())
