"""Proving a variant: the loader that ships, all goldens, and what it measured as Evidence."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import enginebundle
from enginebundle.compare import compare
from enginebundle.digest import Digest
from enginebundle.evidence import CaseResult, Evidence
from enginebundle.index import Index, Variant
from enginebundle.machine import Machine
from enginebundle.session import Session
from enginebundle.signing import Trust, verify
from enginebundle.spec import Target
from enginebundle.store import Store


def prove(
    store: Store, name: str, digest: Digest, target: Target, trusted: Sequence[str], date: str
) -> Evidence:
    """Load the variant as a service would, call it with every golden's inputs, compare.

    `trusted` are the base64 public keys whose signature counts here, besides this machine's own.
    `date` is ISO 8601, UTC. What the loader raises goes through: nothing was proved then.
    """
    trust = _trust(trusted)
    version = store.resolve(f"{name}@{digest}")
    data, signature = store.read_index(version)
    verify(data, signature, trust)
    index = Index.from_bytes(data)
    variant = index.variant(target)
    if variant is None:
        raise LookupError(f"{version} has no variant for {target}")
    session = enginebundle.load(
        _reference(store.uri, name, digest), target=target, allow_pending=True, trust=trust
    )
    cases = tuple(_cases(store, index, variant, session))
    machine = Machine.here()
    passed = bool(cases) and all(case.passed for case in cases)
    return Evidence(digest, target, passed, machine.to_json(), machine.toolchain, cases, date)


def _cases(store: Store, index: Index, variant: Variant, session: Session) -> list[CaseResult]:
    from safetensors.torch import load

    bounds = dict(variant.tolerances)
    results = []
    for golden in index.goldens:
        tensors = load(store.read_blob(golden.blob))
        got = session(**{spec.name: tensors[f"input.{spec.name}"] for spec in index.inputs})
        for spec in index.outputs:
            found = compare(got[spec.name], tensors[f"output.{spec.name}"], bounds[spec.name])
            results.append(
                CaseResult(golden.name, spec.name, found.max_abs, found.worst, found.passed)
            )
    return results


def _trust(keys: Sequence[str]) -> Trust:
    mine = Trust.default().keys
    given = Trust.of(*(base64.b64decode(key, validate=True) for key in keys))
    return Trust({**mine, **given.keys})


def _reference(uri: str, name: str, digest: Digest) -> str:
    """`STORE/NAME@DIGEST`, with the store's query, if it has one, at the end."""
    path, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{path.rstrip('/')}/{name}@{digest}{mark}{query}"
