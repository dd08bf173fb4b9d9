"""Random compositions of real blocks through the whole compiler: chains, sums, concatenations, residuals.

    python -m tests.fuzz.compositions --count 2000 [--first 0] [--build 8] [--jobs 2] [--minutes 60]

Each is traced, lowered, partitioned and converted; its networks, evaluated on the CPU, are held against eager
PyTorch at every point of its profile; every `--build`-th is also built, in another process, as builds are. Counts go to
benchmarks/results/compositions.json; the exit code is 1 if one is wrong or fails without a type.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from benchmarks import results
from compiler.build.aids import Aids
from compiler.build.apart import Apart
from compiler.build.evaluated import EXACT, InaccurateBuild, evaluate_partition
from compiler.convert.library import REGISTRY
from compiler.goldens.goldens import GoldenCase, GoldenSource, make_goldens
from compiler.goldens.tolerance import chain, tolerance
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.pipeline import BuildRequest, build_program, convert_program
from compiler.refused import Refused
from compiler.trace.export import trace
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Tolerance
from tests.fuzz.blocks import BLOCKS, SHARING, WIDTH
from tests.opinfo.lane import run

RANGES = {"b": (1, 2, 3), "s": (2, 5, 9)}
SLACK = 32
"""How many times eager torch's own rounding error, held against double precision, a result may be off more."""
CHUNK = 20
"""How many compositions a worker is given at once."""


class Model(nn.Module):
    """`steps`: the kind of each step, and the values that it reads: 0 and 1 are x and y, then the steps' own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        self.blocks = nn.ModuleList()
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        for place in range(2, 2 + rng.randint(2, 5)):
            recent = [
                max(place - 1 - min(int(rng.expovariate(0.7)), place - 1), 0) for _ in range(2)
            ]
            if rng.random() < 0.35:
                self.steps.append(("two", tuple(recent)))
                self.blocks.append(rng.choice(SHARING)())
            else:
                self.steps.append((rng.choice(("one", "one", "residual", "before")), (recent[0],)))
                self.blocks.append(rng.choice(BLOCKS)())
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        values = [x, y]
        for (kind, places), block in zip(self.steps, self.blocks, strict=True):
            given = [values[place] for place in places]
            if kind == "residual":
                values.append(given[0] + block(given[0]))
            elif kind == "before":
                values.append(given[0] + block(self.norm(given[0])))
            else:
                values.append(block(*given))
        read = {place for _, places in self.steps for place in places}
        return {f"v{n}": v for n, v in enumerate(values) if n > 1 and n not in read}


@dataclass(frozen=True)
class Composition:
    seed: int
    build: bool = False

    @property
    def id(self) -> str:
        return f"composition/{self.seed}"

    @functools.cached_property
    def model(self) -> Model:
        return Model(self.seed).eval()

    @property
    def text(self) -> str:
        """Its steps, for people."""
        names = [str(block).split("(", 1)[0] for block in self.model.blocks]
        return "; ".join(
            f"v{n} = {kind} {name}{list(places)}"
            for n, (name, (kind, places)) in enumerate(zip(names, self.model.steps, strict=True), 2)
        )

    @property
    def profile(self) -> Profile:
        """Batch and length dynamic, one of them, or none."""
        moving = ("", "b", "s", "bs")[self.seed % 4]
        bounds = {s: Range(*(r if s in moving else (r[1],) * 3)) for s, r in RANGES.items()}
        return Profile("p", tuple(bounds.items()))


@dataclass(frozen=True)
class Seeds:
    """What a worker is given."""

    first: int
    count: int
    build: int
    done: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"composition/{self.first}"

    def todo(self) -> list[Composition]:
        made = [
            Composition(n, bool(self.build) and n % self.build == 0)
            for n in range(self.first, self.first + self.count)
        ]
        return [one for one in made if one.id not in self.done]


@dataclass(frozen=True)
class Verdict:
    """`whole`: one engine. `parts`: torch runs some of it, for `reason`. `refused`: with a type."""

    sample: str
    state: str
    reason: str = ""
    text: str = ""
    built: bool = False


def judge(one: Composition) -> Verdict:
    """Compile, evaluate and, if it says so, build."""
    specs = tuple(TensorSpec(name, "float32", ("b", "s", WIDTH)) for name in "xy")
    profiles = (one.profile,)
    request = BuildRequest(Target("rtx", ("sm_89",)), profiles)
    try:
        goldens = make_goldens(one.model, GoldenSource(seed=one.seed), specs, profiles)
        program = capture(lower(trace(one.model, specs, profiles), REGISTRY.ops()), specs)
        converted = convert_program(program, request)
        allowed = _allowed(one, goldens, chain(program.graph))
        evaluate_partition(program, converted.parts, converted.networks, goldens, "fp32", allowed)
        report = converted.parts.report
        if one.build:
            aids = Aids(None, apart=_own_process())
            request = replace(request, tolerance=tuple(allowed.items()))
            built = build_program(program, request, goldens, aids=aids)
            report = built.parts.report
    except InaccurateBuild as error:
        return Verdict(one.id, "wrong", error.message[:400], one.text)
    except Refused as refused:
        return Verdict(
            one.id, "refused", f"{refused.code}: {refused.message[:200]}", one.text, one.build
        )
    except Exception as error:  # noqa: BLE001 - a finding
        return Verdict(one.id, "untyped", f"{type(error).__name__}: {str(error)[:400]}", one.text)
    kept = [group.reason for group in report.groups if any(node.compute for node in group.kept)]
    if not kept:
        return Verdict(one.id, "whole", built=one.build)
    return Verdict(one.id, "parts", f"{kept[0].code}: {kept[0].detail[:200]}", one.text, one.build)


def _allowed(one: Composition, goldens: Sequence[GoldenCase], depth: int) -> dict[str, Tolerance]:
    """The compiler's own tolerance for each output, and SLACK times the rounding errors of eager torch: a norm of
    what is nearly constant makes them large."""
    exact = copy.deepcopy(one.model).double()
    found: dict[str, Tolerance] = {}
    for golden in goldens:
        with torch.no_grad():
            results = exact(*(tensor.double() for tensor in golden.inputs.values()))
        for name, want in golden.outputs.items():
            own, off = tolerance(EXACT, "fp32", want, depth), (want - results[name]).abs().max()
            before = found.get(name, own)
            found[name] = Tolerance(
                max(before.atol, own.atol + SLACK * float(off)), max(before.rtol, own.rtol)
            )
    return found


@functools.cache
def _own_process() -> Apart:
    return Apart()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first composition")
    parser.add_argument("--build", type=int, default=8, help="build every n-th; 0 for none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    last = options.first + options.count
    todo = [
        Seeds(n, min(CHUNK, last - n), options.build) for n in range(options.first, last, CHUNK)
    ]
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    built, bad = 0, []
    for row in run(todo, judge, options.jobs, seconds=300.0, until=end):
        counts[row["state"]] += 1
        built += bool(row.get("built"))
        if row["state"] in ("parts", "refused"):
            reasons[row["reason"][:100]] += 1
        elif row["state"] != "whole":
            bad.append({name: row.get(name, "") for name in ("sample", "state", "reason", "text")})
            print(
                f"{row['sample']}: {row['state']}: {row['reason']}\n{row.get('text', '')}",
                flush=True,
            )
    print(dict(counts), f"{built} built")
    figures = {
        "compositions": sum(counts.values()), "first": options.first, "states": dict(counts),
        "built": built, "reasons": dict(reasons.most_common(20)), "bad": bad,
    }  # fmt: skip
    results.write("compositions", figures, show=False)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
