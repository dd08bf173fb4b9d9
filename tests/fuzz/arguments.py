"""PyTorch's operator samples with unusual arguments: nothing but a refusal may leave the compiler.

    python -m tests.fuzz.arguments --samples 5000 [--jobs 2]    counts go to benchmarks/results/arguments.json
    python -m tests.fuzz.arguments --seed 1                     other samples, in another order; only printed
    python -m tests.fuzz.arguments --only sort searchsorted+sorter=None     of these operators or variations

Each sample is varied: an explicit None for every optional argument, tensors of no dimension, empty ones, ones
that are not contiguous. What eager torch itself refuses, or dies of, is left out; of the rest, numbers are compared.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from benchmarks import results
from compiler.refused import Refused
from tests.fuzz.undefined import undefined
from tests.opinfo.judge import Verdict, examine
from tests.opinfo.lane import run
from tests.opinfo.samples import Call, Sample, operators, samples

EACH = 3
"""Samples of an operator that are varied."""


def variants(sample: Sample) -> Iterator[Sample]:
    """The sample's variations, by name; none of sparse tensors, which no engine takes."""
    if any(tensor.layout != torch.strided for tensor in sample.tensors):
        return
    for name, tensors in _SHAPES.items():
        made = tuple(map(tensors, sample.tensors))
        yield replace(sample, op=f"{sample.op}+{name}", tensors=made)
    leaves = list(sample.module.leaves)
    for place, tensor in zip(sample.module.places, sample.tensors, strict=True):
        leaves[place] = tensor
    first, args, kwargs = tree_unflatten(leaves, sample.module.spec)
    for key in sorted({*kwargs, *_optional(sample.op)}):
        found, spec = tree_flatten((first, args, {**kwargs, key: None}))
        call = Call(sample.module.op, found, spec).eval()
        own = tuple(leaf for leaf in found if isinstance(leaf, torch.Tensor))
        yield replace(sample, op=f"{sample.op}+{key}=None", module=call, tensors=own)


def _scalar(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1)[0] if tensor.numel() else tensor


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[:0] if tensor.ndim else tensor


def _strided(tensor: torch.Tensor) -> torch.Tensor:
    return torch.stack([tensor, tensor], -1)[..., 0]


_SHAPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "scalar": _scalar, "empty": _empty, "strided": _strided,
}  # fmt: skip


def _optional(op: str) -> set[str]:
    """Names of the arguments for which some overload of the ATen operator takes None."""
    # OpInfo's names: `nn.functional.gelu`, `linalg.vector_norm`, and a variant: `div.no_rounding_mode`.
    names = (op.rpartition(".")[2], op.replace(".", "_"), op.partition(".")[0])
    packets = (getattr(torch.ops.aten, name, None) for name in names)
    packet = next((one for one in packets if one is not None), None)
    found: set[str] = set()
    for overload in packet.overloads() if packet is not None else ():
        schema = getattr(packet, overload)._schema
        if not schema.is_mutable:
            found |= {a.name for a in schema.arguments if isinstance(a.type, torch.OptionalType)}
    return found - {"generator", "layout", "device", "pin_memory"}


@dataclass(frozen=True)
class Operator:
    """What a worker is given: all variations of one operator's samples."""

    name: str
    done: frozenset[str] = frozenset()
    seed: int = 0
    only: tuple[str, ...] = ("",)
    """What a variation's name begins with, one of these."""

    def todo(self) -> list[Sample]:
        found = sorted(samples(self.name, "float32", seed=self.seed), key=lambda s: s.hash)
        first = EACH * self.seed % max(len(found), 1)
        chosen = (found[first:] + found[:first])[:EACH]
        ordered = sorted(chosen, key=lambda s: s.index)
        made = (variation for sample in ordered for variation in variants(sample))
        return [v for v in made if v.id not in self.done and v.id.startswith(self.only)]


def judge(sample: Sample) -> Verdict:
    """`untyped` where something else than a refusal leaves the compiler; `no sample` where eager torch refuses."""
    if not _computed_by_torch(sample):
        return _verdict(sample, NO_SAMPLE)
    if reason := undefined(sample):
        return _verdict(sample, "excluded", reason)
    try:
        found = examine(sample)
    except Refused as refused:
        return Verdict(sample.id, "torch", f"{refused.code}: {refused.message[:160]}")
    except Exception as error:  # noqa: BLE001 - a finding
        return _verdict(sample, "untyped", f"{type(error).__name__}: {str(error)[:300]}")
    return found if isinstance(found, Verdict) else found.verdict


NO_SAMPLE = "no sample"


def _verdict(sample: Sample, state: str, reason: str = "") -> Verdict:
    return Verdict(sample.id, state, reason)  # type: ignore[arg-type]


def _computed_by_torch(sample: Sample) -> bool:
    """Whether eager torch computes it, in a process of its own: some calls with empty tensors kill it."""
    child = os.fork()
    if not child:
        try:
            with torch.no_grad():
                sample.module(*sample.inputs())
        except BaseException:  # noqa: BLE001 - whatever it raises, it is no sample
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def share(count: int) -> Iterator[Verdict]:
    """Verdicts on `count` variations, from operators spread over all of them."""
    given = (judge(sample) for operator in shuffled() for sample in operator.todo())
    computed = (verdict for verdict in given if str(verdict.state) != NO_SAMPLE)
    return itertools.islice(computed, count)


def shuffled(seed: int = 0) -> list[Operator]:
    """All operators, in an order that is the same in every run with that seed."""
    names = sorted(operators("float32"), key=lambda n: (hash_of(f"{n}{seed or ''}"), n))
    return [Operator(name, seed=seed) for name in names]


def hash_of(name: str) -> int:
    """A fixed shuffle."""
    return int.from_bytes(name.encode(), "big") * 2654435761 % 2**32


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="other numbers, samples and order")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="variations that begin like this")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    bad = []
    todo = shuffled(options.seed)
    if options.only:
        named = {name.partition("+")[0].partition("/")[0] for name in options.only}
        if unknown := named - {one.name for one in todo}:
            parser.error(f"no operator of OpInfo for float32: {', '.join(sorted(unknown))}")
        todo = [replace(one, only=tuple(options.only)) for one in todo if one.name in named]
    for row in run(todo, judge, options.jobs, until=time.monotonic() + options.seconds):
        if row["state"] == NO_SAMPLE:
            continue
        counts[row["state"]] += 1
        if row["state"] in ("wrong", "untyped"):
            bad.append({name: row[name] for name in ("sample", "state", "reason")})
            print(f"{row['sample']}: {row['state']}: {row['reason']}", flush=True)
        if sum(counts.values()) >= options.samples:
            break
    print(dict(counts))
    if not options.seed and not options.only:
        figures = {"samples": sum(counts.values()), "states": dict(counts), "bad": bad}
        results.write("arguments", figures, show=False)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
