"""Inspect, verify and run a bundle, look at this machine, and say which keys it trusts.

    python -m enginebundle inspect REFERENCE
    python -m enginebundle verify REFERENCE
    python -m enginebundle match REFERENCE [--target T] [--allow-pending]
    python -m enginebundle run REFERENCE IN.safetensors OUT.safetensors [--target T] [--allow-pending]
    python -m enginebundle bench REFERENCE [--seconds S] [--no-cuda-graphs] [--target T] [--allow-pending]
    python -m enginebundle doctor
    python -m enginebundle trust [FILE.pub] [--may ROLES] [--names NAMES]

stdout is for people, or one JSON document with --json; messages go to stderr. Exit codes: 0 success, 1
refused or failed (the message gives the reason), 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError, FormatError
from enginebundle.format.role import ROLES, Limit
from enginebundle.format.spec import Target
from enginebundle.format.structure import tree_to_json
from enginebundle.serve import loader
from enginebundle.serve.bench import bench
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.doctor import examine
from enginebundle.serve.machine import this_machine
from enginebundle.serve.selection import Accepted, Rejected
from enginebundle.serve.session import Session
from enginebundle.storage.trust import Trust, admit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Mapping[str, Any]] = parsed.command
    try:
        result = command(parsed)
    except (BundleError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(result, indent=2, sort_keys=True) if parsed.json else "\n".join(_lines(result))
    )
    return int(result.get("able") is False)


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """A result as text: `name: value`, and rows of equal fields as a table."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            flat = not isinstance(part, Mapping | list) or not part
            yield f"{indent}{name}: {_word(part)}" if flat else f"{indent}{name}:"
            yield from () if flat else _lines(part, f"{indent}  ")
    elif all(isinstance(row, Mapping) for row in value):
        names = list(dict.fromkeys(name for row in value for name in row))
        rows = [names, *([_word(row.get(name, "")) for name in names] for row in value)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"{indent}{'  '.join(cells)}".rstrip()
    else:
        yield f"{indent}{_word(value)}"


def _word(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_word(part)}" for name, part in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(_word, value)) or "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _open(parsed: argparse.Namespace) -> Bundle:
    return loader.open_bundle(parsed.reference, parsed.trust, allow_stale=parsed.allow_stale)


def _load(parsed: argparse.Namespace, cuda_graphs: bool = True) -> Session:
    return loader.load(
        parsed.reference,
        target=parsed.target,
        allow_pending=parsed.allow_pending,
        trust=parsed.trust,
        allow_stale=parsed.allow_stale,
        cuda_graphs=cuda_graphs,
    )


def _inspect(parsed: argparse.Namespace) -> Mapping[str, Any]:
    bundle = _open(parsed)
    index = bundle.index
    return {
        "version": str(bundle.version),
        "index": bundle.version.digest,
        "signer": bundle.signer,
        "signers": list(bundle.signers),
        "inputs": [spec.to_json() for spec in index.inputs],
        "outputs": [spec.to_json() for spec in index.outputs],
        "profiles": [profile.to_json() for profile in index.profiles],
        "goldens": [golden.name for golden in index.goldens],
        "goldens_drawn": index.drawn,
        "labels": dict(index.labels),
        "files": list(bundle.files),
        "structure": tree_to_json(index.structure),
        "between": index.between,
        "bytes": sum(size for _, size in index.blobs),
        "variants": [
            {
                "target": str(variant.target),
                "state": bundle.verdicts[variant.target].state,
                "reason": bundle.verdicts[variant.target].reason,
                "tolerances": {name: bound.to_json() for name, bound in variant.tolerances},
                "fallback": [str(part.fallback) for part in variant.parts if part.fallback],
                "precision": variant.precision,
                "toolchain": variant.toolchain.to_json(),
                "segments": [[s.kind for s in part.segments] for part in variant.parts],
                "plugins": list(variant.plugins),
            }
            for variant in index.variants
        ],
        "evidence": [
            {
                "target": str(known.content.target),
                "passed": known.content.passed,
                "worst": known.content.worst,
                "date": known.content.date,
                "sequence": known.content.sequence,
                "machine": dict(known.content.machine),
                "signer": known.signer,
            }
            for known in bundle.evidence
        ],
    }


def _verify(parsed: argparse.Namespace) -> Mapping[str, Any]:
    bundle = _open(parsed)
    for digest, _ in bundle.index.blobs:
        bundle.read(digest)
    return {
        "version": str(bundle.version),
        "index": bundle.version.digest,
        "signer": bundle.signer,
        "blobs": len(bundle.index.blobs),
        "bytes": sum(size for _, size in bundle.index.blobs),
    }


def _match(parsed: argparse.Namespace) -> Mapping[str, Any]:
    bundle = _open(parsed)
    machine = this_machine()
    target = Target.parse(parsed.target) if parsed.target else None
    choices = loader.select(bundle, machine, target=target, allow_pending=parsed.allow_pending)
    return {
        "machine": machine.to_json(),
        "choices": [
            {
                "target": str(choice.target),
                "state": choice.state,
                "accepted": isinstance(choice, Accepted),
                "reason": choice.reason if isinstance(choice, Rejected) else "",
            }
            for choice in choices
        ],
    }


def _run(parsed: argparse.Namespace) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    session = _load(parsed)
    try:
        inputs = load_file(parsed.input)
    except SafetensorError as error:
        raise BundleError(f"{parsed.input} is not a safetensors file: {error}") from error
    outputs = session(**inputs)
    try:
        save_file({name: tensor.contiguous() for name, tensor in outputs.items()}, parsed.output)
    except ImportError as error:
        raise BundleError(f"writing {parsed.output} needs NumPy: pip install numpy") from error
    shapes = {name: list(tensor.shape) for name, tensor in outputs.items()}
    profile = session.profile_for(**inputs).name
    return {"target": str(session.target), "profile": profile, "outputs": shapes}


def _bench(parsed: argparse.Namespace) -> Mapping[str, Any]:
    session = _load(parsed, cuda_graphs=not parsed.no_cuda_graphs)
    timings = [asdict(timing) for timing in bench(session, parsed.seconds)]
    return {"version": str(session.version), "target": str(session.target), "goldens": timings}


def _doctor(parsed: argparse.Namespace) -> Mapping[str, Any]:
    found = examine()
    able = any(one.fine for one in found if one.what.endswith("targets"))
    return {"able": able, "findings": [asdict(one) for one in found]}


def _trust(parsed: argparse.Namespace) -> Mapping[str, Any]:
    if parsed.file is not None:
        admit(parsed.file, Limit.of(parsed.may, parsed.names))
    elif parsed.may or parsed.names:
        raise FormatError("--may and --names are about the key in a file: name its .pub file first")
    trust = Trust.default()
    keys = [
        {"key": key, "may": " and ".join(map(str, trust.limits.get(key, (Limit(),))))}
        for key in trust.keys
    ]
    return {"folder": str(trust.where), "keys": keys}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m enginebundle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], Any], text: str) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one JSON document")
        sub.set_defaults(command=run)
        return sub

    def bundle(name: str, run: Callable[[argparse.Namespace], Any], text: str) -> Any:
        sub = command(name, run, text)
        sub.add_argument("reference", help="STORE/NAME[@VERSION|:ALIAS], or an exported folder")
        sub.add_argument(
            "--trust", type=Path, help="folder of trusted .pub files (default: this machine's)"
        )
        sub.add_argument(
            "--allow-stale",
            action="store_true",
            help="follow an alias that expired, or of which this machine has seen a later move",
        )
        return sub

    bundle("inspect", _inspect, "print what the bundle holds, and the evidence about it")
    bundle("verify", _verify, "check the signature and every blob")
    command("doctor", _doctor, "print what this machine can load, and what it lacks for the rest")
    sub = command(
        "trust", _trust, "trust a key on this machine; print which are, and what they may sign"
    )
    sub.add_argument("file", nargs="?", type=Path, help="the .pub file of a key; none: only print")
    sub.add_argument(
        "--may", nargs="+", choices=ROLES, help="what it may sign (default: everything)"
    )
    sub.add_argument(
        "--names", nargs="+", default=(), metavar="NAME",
        help="the bundles that it may sign for, such as bert-*; without --may, it may revoke nothing",
    )  # fmt: skip
    for name, run, text in (
        ("match", _match, "print which variants may run here, and why the others may not"),
        ("run", _run, "run the bundle on the tensors in a file"),
        ("bench", _bench, "time calls with each of the bundle's goldens"),
    ):
        sub = bundle(name, run, text)
        sub.add_argument("--target", help="use this target, whatever GPU this machine has")
        sub.add_argument(
            "--allow-pending", action="store_true", help="also accept unvalidated variants"
        )
        if name == "run":
            sub.add_argument(
                "input", type=Path, help="safetensors file with a tensor for each input"
            )
            sub.add_argument("output", type=Path, help="safetensors file to write")
        if name == "bench":
            sub.add_argument(
                "--seconds", type=float, default=1.0, help="for each golden (default 1)"
            )
            sub.add_argument(
                "--no-cuda-graphs", action="store_true", help="enqueue every call kernel by kernel"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
