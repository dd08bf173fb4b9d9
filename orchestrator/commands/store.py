"""`kiln gc` and `kiln store verify`: what a store holds that nothing needs, and what it lost."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from enginebundle.storage.store import Store
from orchestrator.commands.common import open_store, print_json
from orchestrator.commands.run import run
from orchestrator.keep.collect import collect
from orchestrator.keep.verify import Verified, verify
from orchestrator.report import record
from orchestrator.report.exit_codes import OK, SOME_FAILED


def gc(args: argparse.Namespace) -> int:
    """Remove what nothing reaches, or with --dry-run tell what would go."""
    store = open_store(args.store)
    found = collect(store, dry_run=args.dry_run, grace=args.grace * 3600)
    kinds: dict[str, tuple[int, int]] = {}
    for entry in found.entries:
        count, size = kinds.get(entry.path.split("/")[0], (0, 0))
        kinds[entry.path.split("/")[0]] = (count + 1, size + entry.size)
    if args.output == "json":
        print_json({
            "dry_run": args.dry_run, "bytes": found.bytes, "kept_blobs": found.kept, "runs_alive": found.runs,
            "removed": [entry.path for entry in found.entries],
        })  # fmt: skip
        return OK
    if args.dry_run:
        for entry in found.entries:
            print(entry.path)
    if found.runs:
        print(f"{found.runs} runs are alive: all results stay", file=sys.stderr)
    verb = "would remove" if args.dry_run else "removed"
    told = ", ".join(f"{count} {kind} ({size:,} bytes)" for kind, (count, size) in kinds.items())
    print(f"{verb} {told or 'nothing'}; {found.kept} blobs stay")
    return OK


def store(args: argparse.Namespace) -> int:
    """Read everything. With --repair set damaged blobs aside, and run again what made what is missing."""
    opened = open_store(args.store)
    logging.getLogger("orchestrator.keep.results").setLevel(logging.ERROR)
    found = verify(opened, set_aside=args.repair)
    logging.getLogger("orchestrator.keep.results").setLevel(logging.NOTSET)
    if args.repair and not found.fine:
        _tell(found, sys.stderr)
        for manifest in _manifests(opened, found):
            print(f"kiln run {manifest}", file=sys.stderr)
            run(argparse.Namespace(
                manifest=str(manifest), store=args.store, output="text", executor="local", address=None,
                elastic=False, jobs=None, only=None, retry_failed=False, allow_unproved=False, run_id=None,
            ))  # fmt: skip
        found = verify(opened)
    if args.output == "json":
        print_json({
            "blobs": found.blobs, "damaged": found.damaged, "incomplete": found.incomplete,
            "useless": list(found.useless),
        })  # fmt: skip
    else:
        _tell(found, sys.stdout)
    return OK if found.fine else SOME_FAILED


def _tell(found: Verified, stream: TextIO) -> None:
    lines = [f"blob {digest} is damaged" for digest in found.damaged]
    lines += [f"version {name} is incomplete: {why}" for name, why in found.incomplete.items()]
    lines += [f"result {key} can't be used" for key in found.useless]
    if found.fine:
        lines.append(f"{found.blobs} blobs, and all that names them: fine")
    else:
        lines.append("run the manifests that made these again, or `kiln store verify --repair`")
    print("\n".join(lines), file=stream)


def _manifests(opened: Store, found: Verified) -> Sequence[Path]:
    """The manifests, as far as they are on this machine, of the runs that made what is lost."""
    lost = {run for run in found.useless.values() if run}
    models = {name.partition("@")[0] for name in found.incomplete}
    for run_id in record.ids(opened):
        tasks = record.tasks(opened, run_id)
        if any(name.split("/")[0] in models for name in tasks):
            lost.add(run_id)
    paths = [record.manifest(opened, run_id) for run_id in sorted(lost)]
    known = dict.fromkeys(path for path in paths if path is not None)
    for path in known:
        if not path.is_file():
            print(f"{path} is not on this machine: run it where it is", file=sys.stderr)
    return [path for path in known if path.is_file()]
