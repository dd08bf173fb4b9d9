"""`kiln export`: a version as a folder or file that the loader opens, or as models for Triton."""

from __future__ import annotations

import argparse
from pathlib import Path

from enginebundle.errors import NoVariantError
from enginebundle.format.spec import Target
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export as export_folder
from enginebundle.serve.export import export_file
from enginebundle.serve.triton.export import export_triton
from orchestrator.commands.common import UsageError, open_store, print_json


def export(args: argparse.Namespace) -> int:
    """Write what was asked for, and say what a server needs. What no trusted key published is refused."""
    store, to = open_store(args.store), Path(args.to)
    bundle = Bundle.open(store, store.resolve(args.bundle))
    targets = [Target.parse(target) for target in args.target]
    told = {"bundle": str(bundle.version), "to": str(to), "form": args.form}
    if args.form != "triton" and to.exists():
        raise UsageError(f"{to} already exists; name a new one")
    if args.form != "triton":
        write = export_folder if args.form == "folder" else export_file
        write(bundle, to, targets or None)
        lines = [f"{bundle.version} is in {to}; enginebundle.load({str(to)!r}) opens it"]
    else:
        if len(targets) != 1:
            has = ", ".join(str(variant.target) for variant in bundle.index.variants)
            raise UsageError(f"--as triton: expected one --target, of {has}")
        try:
            made = export_triton(bundle, to, targets[0], allow_pending=args.allow_pending)
        except NoVariantError as error:
            raise UsageError(f"{error}; run `kiln validate`, or pass --allow-pending") from error
        told |= {
            "target": str(targets[0]), "models": list(made.names), "plan": made.plan,
            "max_batch_size": made.most, "notes": list(made.notes),
        }  # fmt: skip
        batch = f", up to {made.most} rows in a batch" if made.most else ""
        lines = [f"{bundle.version} {targets[0]} is {' and '.join(made.names)} in {to}{batch}"]
        lines += made.notes
    print_json(told) if args.output == "json" else print("\n".join(lines))
    return 0
