"""Proving a variant: the loader that ships, all goldens, and what it measured as Evidence."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from enginebundle import machine
from enginebundle.bundle import Bundle
from enginebundle.errors import NotFoundError, NoVariantError
from enginebundle.evidence import Evidence
from enginebundle.match import Accepted, match
from enginebundle.session import Session
from enginebundle.signing import Trust
from enginebundle.spec import Target
from enginebundle.store import Store
from enginebundle.validate import validate


def prove(store: Store, reference: str, target: Target, trusted: Sequence[str]) -> Evidence:
    """Open the variant as a service would and reproduce every golden; what was measured, unsigned.

    `trusted` are base64 public keys whose signature counts here besides the machine's own. A
    variant that failed before may try again. Raises NotFoundError, NoVariantError (this machine
    lacks what the variant needs) and whatever the loader raises: nothing was proved then.
    """
    bundle = Bundle.open(store, store.resolve(reference), _trust(trusted))
    variant = bundle.index.variant(target)
    if variant is None:
        has = ", ".join(str(known.target) for known in bundle.index.variants)
        raise NotFoundError(f"{bundle.version} has no variant {target}; it has {has}")
    choices = match([variant], {}, machine.find(), allow_pending=True, target=target)
    if not isinstance(choices[0], Accepted):
        raise NoVariantError(f"{bundle.version} can't be proved here: {choices[0]}")
    return validate(Session(bundle, variant, choices))


def _trust(keys: Sequence[str]) -> Trust:
    given = Trust.of(*(base64.b64decode(key, validate=True) for key in keys))
    return Trust({**Trust.default().keys, **given.keys})
