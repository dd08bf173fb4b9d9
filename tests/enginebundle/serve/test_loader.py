"""From a reference to a session, or to the reasons why there is none."""

from __future__ import annotations

import pytest

import enginebundle
from enginebundle.errors import (
    NoVariantError,
)
from enginebundle.format.signing import Signer
from enginebundle.serve.selection import Accepted
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, goldens, publish, reference


def test_nothing_is_served_that_was_not_proved(store: Store) -> None:
    version = publish(store)
    with pytest.raises(NoVariantError) as caught:
        enginebundle.load(reference(store))
    assert str(caught.value).startswith("no variant of tiny@1 may run here:\n  torch:cpu: pending")
    assert "rtx:sm_89: needs a GPU of sm_89" in str(caught.value)
    assert enginebundle.load(reference(store), allow_pending=True).target == CPU

    evidence = validate_and_sign(store, version, CPU)
    assert evidence.passed
    assert len(evidence.cases) == 6
    assert 0 <= evidence.worst <= 1
    session = enginebundle.load(reference(store))
    assert session.selection[0] == Accepted(CPU, "validated")
    assert [str(c.target) for c in session.selection] == ["torch:cpu", "rtx:sm_89"]


def test_evidence_by_a_stranger_counts_nothing(store: Store) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU, signer=Signer.generate())
    with pytest.raises(NoVariantError, match="no key trusted here has signed evidence"):
        enginebundle.load(reference(store))


def test_a_bundle_loads_from_s3(remote: Store) -> None:
    publish(remote)
    base, _, query = remote.uri.partition("?")
    session = enginebundle.load(f"{base}/tiny:latest?{query}", target=CPU, allow_pending=True)
    case = goldens()["rows3"]
    got = session(x=case["input.x"], mask=case["input.mask"])
    assert got["y"].allclose(case["output.y"])
