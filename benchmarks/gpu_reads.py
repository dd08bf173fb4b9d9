"""Which engines compute correctly when one kernel reads a tensor twice?

    python benchmarks/gpu_reads.py [--workers 16]     on a GPU machine

Each program computes something from x [a, b, c] (and y of the same shape) that reads x in two ways,
then reduces it or passes it to another layer. It is compiled for sm_80 in three ways, executed, and
compared with PyTorch: without set_apart ("plain"), without it and with a dynamic first size
("dynamic"), and as the compiler does it ("apart", see compiler/network/reads.py). Writes
benchmarks/results/gpu_reads.json: how many engines are wrong, by program when a sum, softmax or layer
norm follows, and by what follows for a few of the programs ("then ...").
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

for _name, _value in (("NVIDIA_TF32_OVERRIDE", "0"), ("OMP_NUM_THREADS", "1")):
    os.environ.setdefault(_name, _value)
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # instead of this folder, whose coverage.py would hide a package

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402, N812

from benchmarks import results  # noqa: E402

SHAPES = ((3, 4, 6), (4, 12, 16))
WAYS = ("plain", "dynamic", "apart")
Function = Callable[..., torch.Tensor]


def cat(*tensors: torch.Tensor, axis: int = 1) -> torch.Tensor:
    return torch.cat(tensors, axis)


def turned(x: torch.Tensor) -> torch.Tensor:
    """The rotation of halves in a rotary embedding."""
    half = x.shape[-1] // 2
    return cat(-x[..., half:], x[..., :half], axis=-1)


PROGRAMS: dict[str, Function] = {
    # one row or column with all of them
    "x[:, :1] + x": lambda x: x[:, :1] + x,
    "x - x[:, :1]": lambda x: x - x[:, :1],
    "x - x[:, 1:2]": lambda x: x - x[:, 1:2],
    "x - x[:, 0] (select)": lambda x: x - x.select(1, 0).unsqueeze(1),
    "x * x[..., :1]": lambda x: x * x[..., :1],
    "x - x[:1]": lambda x: x - x[:1],
    "x * x[:, :1, :1]": lambda x: x * x[:, :1, :1],
    "x[:, :1].exp() + x": lambda x: x[:, :1].exp() + x,
    "x * sigmoid(x[:, :1])": lambda x: x * torch.sigmoid(x[:, :1]),
    "y * x + x[:, :1]": lambda x, y: y * x + x[:, :1],
    "x[:, :1] + y": lambda x, y: x[:, :1] + y,
    "x + (x > x[:, :1])": lambda x: x + (x > x[:, :1]).float(),
    "where(x > 0, x[:, :1], x)": lambda x: torch.where(x > 0, x[:, :1], x),
    "softmax(x) * softmax(x)[:, :1]": lambda x: x.softmax(-1) * x.softmax(-1)[:, :1],
    "x - mean + x[:, :1]": lambda x: x[:, :1] - x.mean(1, keepdim=True) + x,
    "mean + x[:, :1]": lambda x: x[:, :1] + x.mean(1, keepdim=True),
    "x.index_select(1, [0]) + x": lambda x: x.index_select(1, torch.tensor([0])) + x,
    "x * x[:, :1].expand_as(x)": lambda x: x * x[:, :1].expand_as(x),
    # different strides
    "x[:, ::2] * x[:, :n/2]": lambda x: x[:, ::2] * x[:, : x.shape[1] // 2],
    "x[:, ::2] * x[:, 1::2]": lambda x: x[:, ::2] * x[:, 1::2],
    "halves": lambda x: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :],
    "flip": lambda x: x * x.flip(1),
    "permuted": lambda x: x * x.index_select(1, torch.tensor([0, 2, 1, 3] * (x.shape[1] // 4))),
    "outer product": lambda x: x[:, 0, :, None] * x[:, 0, None, :],
    "pairs": lambda x: x[:, :, None] - x[:, None],
    "pairs of x[..., :1]": lambda x: x[..., :1] - x[..., :1].transpose(-1, -2),
    "transpose": lambda x: x[:, :4, :4] * x[:, :4, :4].transpose(-1, -2),
    # different offsets
    "x - shifted(x)": lambda x: x - cat(x[:, :1], x[:, :-1]),
    "shifted(x) - x": lambda x: cat(x[:, :1], x[:, :-1]) - x,
    "x - shifted(y, x)": lambda x, y: x - cat(y[:, :1], x[:, :-1]),
    "token shift": lambda x, y: x + (cat(y[:, :1], x[:, :-1]) - x) * y,
    "x * padded(x[:, :-1])": lambda x: x * F.pad(x[:, :-1], (0, 0, 1, 0)),
    "x * padded(x)[:, :-1]": lambda x: x * F.pad(x, (0, 0, 1, 0))[:, :-1],
    "x * padded(x)[:, 1:]": lambda x: x * F.pad(x, (0, 0, 0, 1))[:, 1:],
    "x - roll(x)": lambda x: x - x.roll(1, 1),
    "x - cat(x[:, 1:], x[:, :1])": lambda x: x - cat(x[:, 1:], x[:, :1]),
    "x - cat(x[:, 1:], x[:, -1:])": lambda x: x - cat(x[:, 1:], x[:, -1:]),
    "x * cat of 2 rows, often": lambda x: x * cat(*[x[:, :2]] * (x.shape[1] // 2)),
    "x * cat(row, 2 * row)": lambda x: x[:, :2] * cat(x[:, :1], 2 * x[:, :1]),
    "cat(x[:, :1] * x, x)": lambda x: cat(x[:, :1] * x, x),
    "rotary": lambda x, y: x * y.cos() + turned(x) * y.sin(),
    "rotary, interleaved": lambda x: (
        x * 0.7 + torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2) * 0.3
    ),
    "chunks less their firsts": lambda x: x - cat(*[c - c[:, :1] for c in x.chunk(2, 1)]),
    "windows": lambda x: x[:, :-1].unsqueeze(1) * x.unfold(1, 2, 1).permute(0, 3, 1, 2),
    "diagonal": lambda x: x[:, :4, :4] - x[:, :4, :4].diagonal(0, 1, 2).unsqueeze(1),
}
REDUCED: dict[str, Function] = {
    "sum": lambda z: z.sum(1),
    "softmax": lambda z: z.softmax(-1),
    "layer_norm": lambda z: F.layer_norm(z, z.shape[-1:]),
}
READ: dict[str, Function] = {
    "result": lambda z: z,
    "matmul": lambda z: z @ z.transpose(-1, -2),
    "cumsum": lambda z: z.cumsum(1),
    "flattened, sum": lambda z: z.flatten(1).sum(1),
    "attention": lambda z: F.scaled_dot_product_attention(z[:, None], z[:, None], z[:, None]),
    "convolution": lambda z: F.conv1d(z, torch.ones(2, z.shape[1], 1).to(z)),
    "pooling": lambda z: F.max_pool1d(z, 2),
    "topk": lambda z: z.topk(2, -1).values,
    "sort": lambda z: z.sort(1).values,
    "amax, gathered": lambda z: z.gather(1, z.argmax(1, keepdim=True)),
    "resized": lambda z: F.interpolate(z, scale_factor=1.5, mode="linear"),
    "scattered": lambda z: torch.zeros_like(z).scatter_add(1, torch.zeros_like(z).long(), z),
}
"""What follows a program. Those in READ follow only the programs in FEW."""
FEW = ("x - x[:, :1]", "x - shifted(x)", "rotary", "x * x[..., :1]")


@dataclass(frozen=True)
class Case:
    way: str
    shape: tuple[int, int, int]
    program: str
    then: str


def cases() -> Iterator[Case]:
    """Every program with every reduction, and a few programs with the other layers too."""
    for way, shape, program in itertools.product(WAYS, SHAPES, PROGRAMS):
        for then in (*REDUCED, *(READ if program in FEW else ())):
            yield Case(way, shape, program, then)


def measure(case: Case) -> tuple[str, str]:
    """The state and the reason of the verdict."""
    from compiler.build import tensorrt_rtx
    from compiler.convert import interpret
    from compiler.network import reads
    from tests.fuzz.judge import judge
    from tests.fuzz.programs import Program
    from tests.gpu.execute import execute

    torch.set_num_threads(1)
    interpret.set_apart = reads.set_apart if case.way == "apart" else _as_it_is
    run = partial(execute, tensorrt_rtx.module())
    module = _Then(PROGRAMS[case.program], REDUCED.get(case.then) or READ[case.then])
    count = len(inspect.signature(module.program).parameters)
    program = Program(1, module, (case.shape,) * count, case.way == "dynamic")
    verdict = judge(program, run, "sm_80")
    return verdict.state, verdict.reason


def _as_it_is(network: Any) -> Any:
    return network


class _Then(torch.nn.Module):
    """A program of x, or of x and y, with what follows it."""

    code = ""

    def __init__(self, program: Function, then: Function) -> None:
        super().__init__()
        self.program, self.then = program, then

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        return (self.then(self.program(x) if y is None else self.program(x, y)),)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    every = list(cases())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        verdicts = list(pool.map(measure, every, chunksize=4))
    table: dict[str, dict[str, list[int]]] = {}
    failed = []
    for case, (state, reason) in zip(every, verdicts, strict=True):
        row = f"then {case.then}" if case.then in READ else case.program
        count = table.setdefault(row, {way: [0, 0] for way in WAYS})[case.way]
        count[0] += state == "wrong"
        count[1] += 1
        if state not in ("right", "wrong"):
            failed.append([*vars(case).values(), state, reason])
    figures = {"gpu": results.gpu(), "wrong_of_all": table, "not_executed": failed}
    results.write("gpu_reads", figures, show=False)
    for row, counts in table.items():
        print(f"{row:32}", *(f"{way} {a}/{b}" for way, (a, b) in counts.items()), sep="  ")
    print(*failed, sep="\n")
    return int(any(counts["apart"][0] for counts in table.values()) or bool(failed))


if __name__ == "__main__":
    sys.exit(main())
