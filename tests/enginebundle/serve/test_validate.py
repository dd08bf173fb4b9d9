"""Goldens run through the loader, and the evidence that comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import enginebundle
from enginebundle.errors import (
    FormatError,
    NotFoundError,
    NoVariantError,
)
from enginebundle.format.spec import Tolerance
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.session import Session
from enginebundle.serve.validate import run_goldens, validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, goldens, index, reference


def test_a_wrong_variant_fails_its_proof_and_is_then_refused(store: Store) -> None:
    original = index(store)
    variant = original.variants[0]
    part = replace(variant.parts[0], returns=("y0", "rows0"))
    cases = goldens()["rows3"]
    cases["output.y"] = cases["output.y"] + 0.01
    from safetensors.torch import save

    data = save(cases)
    blob = store.put_blob(data)
    wrong = replace(
        original,
        variants=(replace(variant, parts=(part,)),),
        goldens=(replace(original.goldens[0], blob=blob),),
        blobs=(*original.blobs, (blob, len(data))),
    )
    raw = wrong.to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    evidence = validate_and_sign(store, version, CPU)
    assert not evidence.passed
    assert [case.passed for case in evidence.cases] == [False, True]
    assert evidence.worst > 1
    with pytest.raises(NoVariantError, match="failed its validation"):
        enginebundle.load(f"{reference(store)}@1", allow_pending=True)


def test_a_bundle_without_goldens_cannot_be_proved(store: Store) -> None:
    raw = replace(index(store), goldens=()).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    session = Session(Bundle.open(store, version), index(store).variants[0])
    with pytest.raises(NotFoundError, match="no goldens, so nothing can be proved"):
        run_goldens(session)


def test_a_golden_that_lacks_a_tensor_is_named(store: Store) -> None:
    original = index(store)
    weights = original.variants[0].parts[0].segments[0].weights
    assert weights is not None
    raw = replace(original, goldens=(replace(original.goldens[0], blob=weights),)).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    with pytest.raises(FormatError, match=r"golden 'rows1' lacks the tensor 'input.x'"):
        validate_and_sign(store, version, CPU)


def test_tolerance_of_the_bundle_decides(store: Store) -> None:
    original = index(store)
    strict = replace(
        original.variants[0],
        tolerances=(("y", Tolerance(0.0, 0.0)), ("rows", Tolerance(0.0, 0.0))),
    )
    raw = replace(original, variants=(strict,)).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    worst = validate_and_sign(store, version, CPU).worst
    assert worst in (0.0, -1.0)
