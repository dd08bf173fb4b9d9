"""`kiln sign`: sign published versions, and what is known about them, with this machine's keys too."""

from __future__ import annotations

import argparse

from enginebundle.storage.cosign import cosign
from enginebundle.storage.trust import default_signer
from orchestrator.commands.common import open_store, print_json


def sign(args: argparse.Namespace) -> int:
    """Add this machine's signatures to those of each version. What no trusted key signed is refused."""
    store, signer = open_store(args.store), default_signer()
    versions = [store.resolve(given) for given in args.bundle]
    told = [
        {
            "version": str(version),
            "aliases": [pointer.alias for pointer in cosign(store, version, signer)],
        }
        for version in versions
    ]
    if args.output == "json":
        print_json({"keys": list(signer.keys), "versions": told})
        return 0
    print("signed with", *signer.keys)
    for one in told:
        print(" ", one["version"], *(f":{alias}" for alias in one["aliases"]))
    return 0
