"""`kiln alias`: point an alias at a published version, signed with this machine's key."""

from __future__ import annotations

import argparse
from datetime import timedelta

from enginebundle.format.reference import Reference
from enginebundle.serve.bundle import Bundle
from enginebundle.storage.trust import default_signer
from orchestrator.commands.common import UsageError, open_store, print_json


def alias(args: argparse.Namespace) -> int:
    """Sign the alias's next move, unless it stands there already. What no trusted key published is refused."""
    store = open_store(args.store)
    if Reference.parse(args.bundle).alias is not None:
        raise UsageError(f"{args.bundle}: expected NAME@VERSION; `kiln list` shows the versions")
    version = store.resolve(args.bundle)
    Bundle.open(store, version)
    lifetime = None if args.valid_days is None else timedelta(days=args.valid_days)
    store.set_alias(
        version.name, args.alias, version.number, signer=default_signer(), lifetime=lifetime
    )
    pointer = store.pointer(version.name, args.alias)
    move = None if pointer is None else store.move(pointer)
    told = {
        "alias": f"{version.name}:{args.alias}",
        "version": version.number,
        "sequence": 0 if move is None else move.sequence,
        "expires": "" if move is None else move.expires,
    }
    if args.output == "json":
        print_json(told)
    else:
        until = f", until {told['expires']}" if told["expires"] else ""
        print(f"{told['alias']} is version {version.number} (move {told['sequence']}){until}")
    return 0
