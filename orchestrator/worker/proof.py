"""Proving a variant on a worker: what the loader measured, for the driver to sign."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from enginebundle.format.evidence import Evidence
from enginebundle.format.spec import Target
from enginebundle.serve.validate import validate
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust


def prove(store: Store, reference: str, target: Target, trusted: Sequence[str]) -> Evidence:
    """`validate`, where the signatures of `trusted` (base64 public keys) count besides the machine's own."""
    given = Trust.of(*(base64.b64decode(key, validate=True) for key in trusted))
    trust = Trust({**Trust.default().keys, **given.keys})
    return validate(store, store.resolve(reference), target, trust)
