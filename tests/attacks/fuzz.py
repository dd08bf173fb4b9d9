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
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import enginebundle
from enginebundle.errors import BundleError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.runtimes.versions import runtime_versions
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.attacks import mutate
from tests.enginebundle.examples import CPU, expected, publish

RESULTS = Path(__file__).parents[2] / "benchmarks/results/attacks.json"
SECONDS = 5
"""Of a processor, until a mutant counts as one that hangs."""
BYTES = 256 << 20
"""What the values of one call may take, and beyond what the process had."""
BATCH = 250
"""Mutants in one process."""
CLASSES = (
    "index", "evidence", "head", "signature", "record", "blob", "graph", "calls", "safetensors", "golden", "name",
    "key",
)  # fmt: skip
SIGNED = ("index", "evidence", "head", "graph", "calls", "safetensors", "golden")
"""Classes of which most mutants are signed again."""


@dataclass
class Prey:
    """The good bundle, and the ways to put something else in its place."""

    root: Path
    home: Path
    good: Path

    @classmethod
    def made(cls, folder: Path) -> Prey:
        os.environ["ENGINEBUNDLE_HOME"] = str(folder / "home")
        os.environ["ENGINEBUNDLE_MAX_BYTES"] = str(BYTES)
        store = Store.open(folder / "good", create=True)
        version = publish(store)
        validate_and_sign(store, version, CPU)
        shutil.copytree(folder / "home", folder / "good.home")
        prey = cls(folder / "store", folder / "home", folder / "good")
        prey.fresh()
        # Imports what a first call imports, so that no mutant's time has it.
        if (found := outcome(prey, f"{prey.root}/tiny", "", False)) != "right":
            raise RuntimeError(f"the good bundle itself: {found}")
        return prey

    def fresh(self) -> None:
        for place, good in ((self.root, self.good), (self.home, self.good.with_name("good.home"))):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(good, place)

    @property
    def record(self) -> Path:
        return self.root / "bundles/tiny/versions/1.json"

    def file(self, kind: str) -> Path:
        (found,) = self.root.glob(f"bundles/tiny/{kind}/*/torch-cpu/*.json")
        return found

    def blob(self, digest: str) -> Path:
        return self.root / "blobs/sha256" / digest[7:9] / digest[7:]

    def put(self, content: bytes) -> str:
        digest = digest_bytes(content)
        self.blob(digest).parent.mkdir(parents=True, exist_ok=True)
        self.blob(digest).write_bytes(content)
        return digest

    def read(self, record: Path, key: str) -> tuple[str, bytes]:
        digest = parse_json(record.read_bytes())[key]
        return digest, self.blob(digest).read_bytes()

    def change(self, record: Path, **content: bytes) -> None:
        value = parse_json(record.read_bytes())
        record.write_bytes(canonical_json(value | {k: self.put(v) for k, v in content.items()}))

    def sign(self, record: Path, key: str, content: bytes) -> None:
        self.change(record, **{key: content, "signature": default_signer().sign(content)})

    def swap(self, old: str, content: bytes) -> None:
        """Sign an index in which other content has the place of a blob."""
        _, index = self.read(self.record, "index")
        value = json.loads(index.replace(old.encode(), self.put(content).encode()))
        value["blobs"][digest_bytes(content)] = len(content)
        self.sign(self.record, "index", mutate.text(value))

    @property
    def index(self) -> dict[str, Any]:
        return dict(parse_json(self.read(self.record, "index")[1]))

    @property
    def segment(self) -> dict[str, Any]:
        return dict(self.index["variants"][0]["parts"][0]["segments"][0])


def _document(draw: random.Random, content: bytes) -> bytes:
    return (
        mutate.data(draw, content)
        if draw.random() < 0.3
        else mutate.text(mutate.tree(draw, parse_json(content)))
    )


def attack(prey: Prey, draw: random.Random, kind: str, signed: bool) -> str:
    """Carry it out. Returns the reference to load."""
    # An alias that was signed for the good index would be refused before what is signed again is read.
    plain = f"{prey.root}/tiny@1" if signed else f"{prey.root}/tiny"
    match kind:
        case "index":
            content = _document(draw, prey.read(prey.record, "index")[1])
            prey.sign(prey.record, "index", content) if signed else prey.change(
                prey.record, index=content
            )
        case "evidence" | "head":
            record = prey.file({"evidence": "evidence", "head": "heads"}[kind])
            content = _document(draw, prey.read(record, kind)[1])
            prey.sign(record, kind, content) if signed else prey.change(record, **{kind: content})
        case "signature":
            record = draw.choice([prey.record, prey.file("evidence"), prey.file("heads")])
            prey.change(record, signature=_document(draw, prey.read(record, "signature")[1]))
        case "record":
            files = [*prey.root.rglob("*.json")]
            record = draw.choice(sorted(files))
            content = _document(draw, record.read_bytes())
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
                content = _document(draw, before) if kind == "graph" else mutate.data(draw, before)
            prey.swap(old, content) if signed else prey.blob(old).write_bytes(content)
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
    signed = kind in SIGNED and draw.random() < 0.9
    prey.fresh()
    reference = attack(prey, draw, kind, signed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        found = outcome(prey, reference, kind, signed)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
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
        prey, out, number = Prey.made(Path(folder)), Path(folder) / "out", 0
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
    parser.add_argument("--mutants", type=int, default=20_000)
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
