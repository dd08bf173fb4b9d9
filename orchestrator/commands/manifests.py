"""`kiln validate-manifest`, `kiln schema`, `kiln plan`. Only `plan --deep` runs a model's code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from enginebundle.errors import BundleError, NotFoundError
from enginebundle.format.reference import LATEST
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store
from orchestrator.commands.common import UsageError, local_archs, open_store, print_json, unknown
from orchestrator.manifest.load import load
from orchestrator.manifest.model import Manifest
from orchestrator.plan import decide
from orchestrator.plan.content import Content, contents
from orchestrator.plan.decide import Plan
from orchestrator.plan.inputs.earlier import Earlier
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.installed import installed
from orchestrator.plan.text import table
from orchestrator.report.exit_codes import OK, SOME_FAILED


def validate_manifest(args: argparse.Namespace) -> int:
    """Summarize what a valid manifest asks for; ManifestError if it is not valid."""
    manifest = load(Path(args.manifest))
    contents(manifest)
    for model in manifest.models:
        targets = ", ".join(map(str, model.targets))
        names = ", ".join(profile.name for profile in model.profiles)
        print(f"{model.name}: {targets}; profiles {names}")
    return 0


def schema(args: argparse.Namespace) -> int:
    """Print the JSON Schema that editors use."""
    from orchestrator.manifest import schema

    print(json.dumps(schema.schema(), indent=2))
    return 0


def plan(args: argparse.Namespace) -> int:
    """Show what would happen. A store that does not exist yet counts as empty."""
    manifest = load(Path(args.manifest))
    if args.deep is not None:
        return _deep(manifest, args)
    try:
        store: Store | None = open_store(args.store)
    except (UsageError, NotFoundError):
        store = None
    made = make_plan(manifest, contents(manifest), store, local_archs())
    if args.output == "json":
        print_json(made.to_json())
    else:
        print(table(made))
    return 0


def _deep(manifest: Manifest, args: argparse.Namespace) -> int:
    """Show what would run where, node by node. Exit code 1 if a model is refused."""
    from orchestrator.plan.deep import deep_plan

    names = [model.name for model in manifest.models]
    for name in args.deep:
        if name not in names:
            raise unknown("model", name, names)
    found = deep_plan(manifest, tuple(args.deep))
    if args.output == "json":
        print_json([one.to_json() for one in found])
    else:
        print("\n\n".join(one.text() for one in found))
    return SOME_FAILED if any(one.refused for one in found) else OK


def make_plan(
    manifest: Manifest,
    found: Mapping[str, Content],
    store: Store | None,
    archs: Collection[str],
    *,
    elastic: bool = False,
) -> Plan:
    """The plan of a manifest against a store, with machines of these GPU architectures at hand, and
    others that may come if the farm is `elastic`.

    `found` is `content.contents(manifest)`.
    """

    def current(name: str) -> int | None:
        return None if store is None else store.aliases(name).get(LATEST)

    def holds(name: str) -> Collection[Target]:
        number = current(name)
        if store is None or number is None:
            return ()
        from orchestrator.run.publish import targets_of

        try:
            return targets_of(store, name, number)
        except BundleError:  # the run says what is wrong with it, if it comes to that
            return ()

    earlier = None if store is None else Earlier(store)
    return decide.plan(
        manifest,
        (lambda digest: None) if store is None else store.result,
        installed(),
        found,
        archs=("cpu", *archs),
        current=current,
        holds=holds,
        elastic=elastic,
        find=None if store is None else Finder(store).find,
        changes=(lambda *_: None) if earlier is None else earlier.changes,
    )
