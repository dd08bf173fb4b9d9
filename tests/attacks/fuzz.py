"""Random attacks on one good bundle: each ends in a BundleError or in the right answer, soon, in bounded memory.

    python -m tests.attacks.fuzz --mutants 20000 [--seed 0]      writes benchmarks/results/attacks.json

Of each class some mutants change what lies in the store, and some are hashed and signed again with the trusted
key, so that they reach the parsers behind the signature. Each is made from the seed and its own number alone.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import platform
import random
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import enginebundle
from enginebundle.errors import BundleError
from enginebundle.format.digest import parse_json
from enginebundle.format.signing import join
from enginebundle.runtimes.versions import runtime_versions
from tests.attacks import authority, mutate
from tests.attacks.prey import Prey
from tests.enginebundle.examples import expected

RESULTS = Path(__file__).parents[2] / "benchmarks/results/attacks.json"
SECONDS = 5
"""Of a processor, until a mutant counts as one that hangs."""
BYTES = 256 << 20
"""What the values of one call may take, and beyond what the process had."""
BATCH = 250
"""Mutants in one process."""
CLASSES = (
    "index", "evidence", "head", "signature", "record", "blob", "graph", "calls", "safetensors", "golden", "name",
    "key", "alias", "revocation", "role", "limit",
)  # fmt: skip
SIGNED = (
    "index", "evidence", "head", "graph", "calls", "safetensors", "golden", "alias", "revocation", "role",
)  # fmt: skip
"""Classes of which most mutants are signed again; `role` by a key that may not sign them."""


def attack(prey: Prey, draw: random.Random, kind: str, signed: bool) -> str:
    """Carry it out. Returns the reference to load."""
    # An alias that was signed for the good index would be refused before what is signed again is read.
    plain = f"{prey.root}/tiny@1" if signed else f"{prey.root}/tiny"
    match kind:
        case "index":
            content = mutate.document(draw, prey.read(prey.record, "index")[1])
            prey.sign(prey.record, "index", content) if signed else prey.change(
                prey.record, index=content
            )
        case "evidence" | "head":
            record = prey.file({"evidence": "evidence", "head": "heads"}[kind])
            content = mutate.document(draw, prey.read(record, kind)[1])
            prey.sign(record, kind, content) if signed else prey.change(record, **{kind: content})
        case "signature":
            key = draw.choice(["index", "evidence", "head"])
            record = {"index": prey.record}.get(key) or prey.file({"head": "heads"}.get(key, key))
            before = prey.read(record, "signature")[1]
            if draw.random() < 0.5:  # of several keys
                before = join(before, prey.other.sign(prey.read(record, key)[1]))
            prey.change(record, signature=mutate.document(draw, before))
        case "record":
            files = [*prey.root.rglob("*.json")]
            record = draw.choice(sorted(files))
            content = mutate.document(draw, record.read_bytes())
            (
                record.with_name(f"{draw.choice([2, 9])}.json") if draw.random() < 0.3 else record
            ).write_bytes(content)
        case "blob":
            path = draw.choice(
                sorted(path for path in (prey.root / "blobs").rglob("*") if path.is_file())
            )
            path.write_bytes(mutate.data(draw, path.read_bytes()))
        case "graph" | "calls" | "safetensors" | "golden":
            old = {
                "safetensors": prey.segment["weights"],
                "golden": prey.index["goldens"][0]["blob"],
            }.get(kind, prey.segment["blob"])
            before = prey.blob(old).read_bytes()
            if kind == "calls":
                content = mutate.text(mutate.calls(draw, parse_json(before)))
            else:
                content = (
                    mutate.document(draw, before) if kind == "graph" else mutate.data(draw, before)
                )
            prey.swap(old, content) if signed else prey.blob(old).write_bytes(content)
        case "alias":
            return authority.alias(prey, draw, signed)
        case "revocation":
            authority.revocation(prey, draw, signed)
        case "role":
            return authority.role(prey, draw)
        case "limit":
            authority.limit(prey, draw)
        case "name":
            reference = draw.choice(
                [f"{prey.root}/tiny", f"{prey.root}/tiny@1", f"{prey.root}/tiny:latest"]
            )
            return mutate.data(draw, reference.encode()).decode(errors="replace")
        case "key":
            path = next((prey.home / "trusted").iterdir())
            content = mutate.data(draw, path.read_bytes())
            (path.with_name("a.pub") if draw.random() < 0.5 else path).write_bytes(content)
    return plain


def outcome(prey: Prey, reference: str, kind: str, signed: bool) -> str:
    """How a service fares: `refused`, `right`, `signed` for another answer that the trusted key signed, or a fault."""
    x, mask = torch.arange(9.0).view(3, 3), torch.tensor([True, False, True])
    try:
        session = enginebundle.load(reference, allow_pending=signed)
        if kind == "golden":
            from enginebundle.serve.validate import run_goldens

            run_goldens(session)
        got = session(x=x, mask=mask)
    except BundleError:
        return "refused"
    except BaseException as error:  # noqa: BLE001
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    want = expected(x, mask)
    right = got.keys() == want.keys() and all(
        got[name].dtype == want[name].dtype and torch.allclose(got[name], want[name])
        for name in want
    )
    return "right" if right else "signed" if signed else "wrong"


def one(prey: Prey, seed: int, number: int) -> tuple[str, bool, str]:
    """The class of a mutant, whether it is signed again, and what came of it."""
    draw = random.Random(f"{seed} {number}")
    kind = CLASSES[number % len(CLASSES)]
    signed = kind in SIGNED and (draw.random() < 0.9 or kind == "role")
    prey.fresh()
    reference = attack(prey, draw, kind, signed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        found = outcome(prey, reference, kind, signed)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if kind == "role" and found != "refused":
        found = f"followed what the key may not sign: {found}"
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before > BYTES + (64 << 20):
        found = f"allocated too much, then {found}"
    return kind, signed, found


def _batch(prey: Prey, seed: int, numbers: range, out: Path) -> None:
    """In a process of its own, since an operator may take it down, and the alarm does where it hangs."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    logging.disable()
    with out.open("a", buffering=1) as file:
        for number in numbers:
            file.write(json.dumps([number, *one(prey, seed, number)]) + "\n")


def run(mutants: int, seed: int, told: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Attack that often. Returns counts by class, and every fault with the number that makes it again."""
    torch.set_num_threads(1)
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    counts: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in CLASSES}
    faults: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=base) as folder:
        os.environ["ENGINEBUNDLE_MAX_BYTES"] = str(BYTES)
        prey, out, number = Prey.made(Path(folder)), Path(folder) / "out", 0
        # Imports what a first call imports, so that no mutant's time has it.
        if (good := outcome(prey, f"{prey.root}/tiny", "", False)) != "right":
            raise RuntimeError(f"the good bundle itself: {good}")
        while number < mutants:
            out.write_bytes(b"")
            if not (child := os.fork()):
                code = 1
                try:
                    _batch(prey, seed, range(number, min(number + BATCH, mutants)), out)
                    code = 0
                finally:
                    os._exit(code)
            status = os.waitpid(child, 0)[1]
            lines = [json.loads(line) for line in out.read_text().splitlines()]
            for at, kind, signed, found in lines:
                name = found if found in ("refused", "right", "signed") else "fault"
                counts[kind][name] += 1
                counts[kind]["signed_again"] += signed
                if name == "fault":
                    faults.append({"number": at, "class": kind, "what": found})
            number += len(lines)
            if status:
                kind = CLASSES[number % len(CLASSES)]
                counts[kind]["fault"] += 1
                faults.append(
                    {"number": number, "class": kind, "what": f"the process died: {status}"}
                )
                number += 1
            told(f"{number} of {mutants}, {len(faults)} faults")
    total = sum((collections.Counter(c) for c in counts.values()), collections.Counter())
    return {
        "mutants": mutants, "seed": seed, "seconds_at_most": SECONDS, "bytes_at_most": BYTES,
        "total": dict(total), "classes": {kind: dict(c) for kind, c in counts.items()}, "faults": faults,
        "toolchain": dict(runtime_versions()), "machine": platform.processor() or platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result: Mapping[str, Any] = run(
        options.mutants, options.seed, lambda line: print(line, flush=True)
    )
    RESULTS.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(json.dumps(result["total"]))
    for fault in result["faults"]:
        print(fault)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
