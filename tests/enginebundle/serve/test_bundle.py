"""Bundles that must not be opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

import enginebundle
from enginebundle.errors import (
    IntegrityError,
    UntrustedError,
)
from enginebundle.format.evidence import CaseResult, Evidence
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Toolchain
from enginebundle.serve import bundle as serve_bundle
from enginebundle.serve.loader import open_bundle
from enginebundle.serve.machine import Machine
from enginebundle.serve.selection import rank
from enginebundle.storage.ledger import attest
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


def test_a_wide_engine_is_pending_where_it_was_not_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence from sm_90 with TensorRT 10.6; asked on other GPUs, and with a later version."""
    target = Target.parse("trt:ampere_plus")
    original = index(store)
    built = Toolchain((("tensorrt", "10.6.0"),))
    engine = replace(original.variants[1], target=target, toolchain=built, version_compatible=True)
    raw = replace(original, variants=(engine,)).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    cases = tuple(CaseResult(golden.name, output, 0.0, 0.0, True)
                  for golden in original.goldens for output in ("y", "rows"))  # fmt: skip
    measured = Evidence(version.digest, target, True, {"arch": "sm_90"}, built, cases, "2026-01-01")
    attest(store, version, measured, default_signer())

    def choice(arch: str | None, tensorrt: str) -> str:
        machine = Machine(arch, (("tensorrt", tensorrt), ("torch", "2.13.0")))
        monkeypatch.setattr(serve_bundle, "this_machine", lambda: machine)
        bundle = open_bundle(f"{reference(store)}@1")
        (found,) = rank(bundle.index.variants, bundle.verdicts, machine)
        return str(found)

    assert choice("sm_90", "10.6.0") == "trt:ampere_plus: accepted (validated)"
    assert "pending on sm_80 with tensorrt 10.6.0" in choice("sm_80", "10.6.0")
    assert "pending on sm_90 with tensorrt 10.15.1" in choice("sm_90", "10.15.1")
    assert "needs tensorrt 10.6.0 or a later 10.x" in choice("sm_90", "11.0.0")
    assert "this machine has no CUDA GPU" in choice(None, "10.6.0")
