"""`kiln revoke`: sign the list of keys and versions that loaders refuse."""

from __future__ import annotations

import argparse

from enginebundle.format.digest import is_digest
from enginebundle.format.reference import Reference
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from orchestrator.commands.common import UsageError, open_store, print_json


def revoke(args: argparse.Namespace) -> int:
    """Add keys and versions to the store's list, or take them off it; print the list that counts now."""
    store = open_store(args.store)
    for key in args.key:
        if not is_digest(key):
            raise UsageError(
                f"key {key!r}: expected sha256:HEX, as `kiln inspect` shows the signer"
            )
    indexes = [_index(store, given) for given in args.bundle]
    found = store.deny(args.key, indexes, undo=args.undo, signer=default_signer())
    told = {"list": found.sequence, "keys": list(found.keys), "indexes": list(found.indexes)}
    if args.output == "json":
        print_json(told)
    else:
        print(f"list {found.sequence} of what is revoked in {store.uri}:")
        print("\n".join([f"  key {key}" for key in found.keys] + [f"  {i}" for i in found.indexes]))
    return 0


def _index(store: Store, given: str) -> str:
    """The digest of a version: by number it must be there, by digest it need not."""
    wanted = Reference.parse(given)
    if wanted.alias is not None:
        raise UsageError(f"{given}: expected NAME@VERSION; `kiln list` shows the versions")
    return wanted.digest or store.resolve(given).digest
