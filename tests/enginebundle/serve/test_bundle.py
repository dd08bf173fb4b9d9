"""Bundles that must not be opened."""

from __future__ import annotations

import pytest

import enginebundle
from enginebundle.errors import (
    IntegrityError,
    UntrustedError,
)
from enginebundle.format.signing import Signer
from enginebundle.serve.loader import open_bundle
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.enginebundle.examples import index, reference


def test_a_bundle_by_a_stranger_is_not_opened(store: Store) -> None:
    stranger = Signer.generate()
    raw = index(store).to_bytes()
    store.publish("tiny", raw, stranger.sign(raw))
    with pytest.raises(UntrustedError, match="not trusted here"):
        enginebundle.load(f"{reference(store)}@1", allow_pending=True)
    trusted = Trust.of(stranger.public)
    session = enginebundle.load(f"{reference(store)}@1", allow_pending=True, trust=trusted)
    assert session.bundle.signer == stranger.key_id


def test_another_models_index_under_this_name_is_refused(store: Store) -> None:
    raw = index(store, "other").to_bytes()
    store.publish("tiny", raw, default_signer().sign(raw))
    with pytest.raises(IntegrityError, match="index of 'other' under the name 'tiny'"):
        open_bundle(f"{reference(store)}@1")
