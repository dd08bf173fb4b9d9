"""`kiln validate-manifest`, `kiln schema`, `kiln plan`. Only `plan --deep` runs a model's code."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from enginebundle.errors import BundleError, NotFoundError
from enginebundle.format.reference import LATEST
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust
from orchestrator.commands.common import UsageError, local_archs, open_store, print_json, unknown
from orchestrator.keep.results import Results
from orchestrator.manifest.load import load
from orchestrator.manifest.model import Manifest
from orchestrator.plan import decide
from orchestrator.plan.content import Content, contents
from orchestrator.plan.decide import Plan
from orchestrator.plan.inputs.earlier import Earlier
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.installed import installed
from orchestrator.plan.task import Task
from orchestrator.plan.text import table
from orchestrator.report.exit_codes import OK, SOME_FAILED
from orchestrator.run.failures import Failures


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
    if args.manifest is None:
        args.manifest, args.deep = _after_deep(args.deep)
    manifest = load(Path(args.manifest))
    if args.deep is not None:
        return _deep(manifest, args)
    try:
        store: Store | None = open_store(args.store)
    except (UsageError, NotFoundError) as error:
        if os.path.exists(args.store) and not os.path.isdir(args.store):
            raise  # A run could make no store there either.
        store = None
        near = _near(args.store)
        if near:
            raise UsageError(f"{error}. Beside it is a store: did you mean {near}?") from error
        print(f"no store at {args.store} yet: planned as for an empty one", file=sys.stderr)
    made = make_plan(manifest, contents(manifest), store, local_archs())
    if args.output == "json":
        print_json(made.to_json())
    else:
        print(table(made))
    return 0


def _near(given: str) -> str:
    """The store beside `given` whose name is most like it; empty if none is."""
    path = Path(given).expanduser().absolute()
    if "://" in given or path.exists() or not path.parent.is_dir():
        return ""
    stores = [entry.name for entry in path.parent.iterdir() if (entry / "store.json").is_file()]
    close = difflib.get_close_matches(path.name, stores, 1)
    return str(Path(given).parent / close[0]) if close else ""


def _after_deep(words: list[str] | None) -> tuple[str, list[str]]:
    """The manifest among the words after `--deep`, and the models: argparse gives that option all of them."""
    if not words:
        raise UsageError("plan: name the manifest's YAML file, as in `kiln plan manifest.yaml`")
    files = [word for word in words if Path(word).suffix in (".yaml", ".yml")]
    manifest = files[0] if files else words[-1]
    return manifest, [word for word in words if word != manifest]


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
    retry: bool = False,
) -> Plan:
    """The plan of a manifest against a store, with machines of these GPU architectures at hand, and
    others that may come if the farm is `elastic`.

    `found` is `content.contents(manifest)`. With `retry`, what failed before counts as new.
    """

    past = decide.Past() if store is None else _past(store, retry)
    return decide.plan(manifest, past, installed(), found, archs=("cpu", *archs), elastic=elastic)


def _past(store: Store, retry: bool) -> decide.Past:
    """What a plan asks a store."""
    finder = Finder(store, Results(store).result)
    failures = Failures(store, forget=retry, keys=finder.keys)

    def known(task: Task, identity: Mapping[str, Any]) -> str:
        failed = failures.known(task, identity)
        return "" if failed is None else f"{failed.code}: {failed.message}"

    @cache
    def trust() -> Trust:
        return store.honour()

    def current(name: str) -> int | None:
        from orchestrator.run.publish import readable_pointer

        try:
            stands = store.standing(readable_pointer(store, name, LATEST), trust())
        except BundleError:  # the run says what is wrong with the store
            return None
        return None if stands is None else stands.version

    def holds(name: str) -> Collection[Target]:
        from orchestrator.run.publish import readable_pointer, targets_of

        pointer = readable_pointer(store, name, LATEST)
        if pointer is None:
            return ()
        try:
            return targets_of(store, name, pointer.version)
        except BundleError:  # the run says what is wrong with it, if it comes to that
            return ()

    changes = Earlier(store, finder.lookup).changes
    return decide.Past(finder.lookup, finder.find, known, changes, current, holds)
