"""From a published bundle to answers: load, run, prove, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import enginebundle
from enginebundle.errors import (
    FormatError,
    InputError,
    IntegrityError,
    NotFoundError,
    NoVariantError,
    RuntimeFailure,
    StoreError,
    UntrustedError,
)
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target, Tolerance
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.loader import open_bundle
from enginebundle.serve.selection import Accepted
from enginebundle.serve.session import Session
from enginebundle.serve.validate import run_goldens, validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.enginebundle.examples import CPU, expected, goldens, index, publish


def reference(store: Store, name: str = "tiny") -> str:
    return f"{store.uri}/{name}"


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


def test_a_session_answers(store: Store) -> None:
    publish(store)
    session = enginebundle.load(f"{reference(store)}@1", target="torch:cpu", allow_pending=True)
    assert [spec.name for spec in session.inputs] == ["x", "mask"]
    assert [spec.name for spec in session.outputs] == ["y", "rows"]
    assert [profile.name for profile in session.profiles] == ["short", "long"]
    for rows in (1, 4, 16):
        x, mask = torch.randn(rows, 3), torch.rand(rows) > 0.5
        got = session(x=x, mask=mask)
        assert list(got) == ["y", "rows"]
        torch.testing.assert_close(got["y"], expected(x, mask)["y"])
        again = session(x=x.numpy(), mask=mask.numpy())
        assert torch.equal(got["y"], again["y"])
        assert got["rows"].item() == rows
    with pytest.raises(InputError, match="no profile contains b=17"):
        session(x=np.zeros((17, 3), np.float32), mask=np.zeros(17, np.bool_))
    with pytest.raises(InputError, match=r"missing \['mask'\]"):
        session(x=torch.ones(1, 3))
    assert session.profile_for(x=torch.ones(4, 3), mask=torch.ones(4)).name == "short"


def test_parts_open_on_first_use(store: Store) -> None:
    publish(store)
    session = enginebundle.load(reference(store), allow_pending=True)
    blob = session.variant.parts[0].segments[0].blob
    path = store.blob_path(blob)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="expected content"):
        session(x=torch.ones(1, 3), mask=torch.ones(1, dtype=torch.bool))
    with pytest.raises(IntegrityError):
        session.open()


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


def test_evidence_by_a_stranger_counts_nothing(store: Store) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU, signer=Signer.generate())
    with pytest.raises(NoVariantError, match="no key trusted here has signed evidence"):
        enginebundle.load(reference(store))


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


def test_an_engine_without_a_gpu_says_so(store: Store) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    version = publish(store)
    bundle = Bundle.open(store, version)
    variant = bundle.index.variants[1]
    with pytest.raises(RuntimeFailure, match="an engine needs a CUDA GPU"):
        Session(bundle, variant).open()
    with pytest.raises(
        NotFoundError, match="has no variant rtx:sm_75; it has torch:cpu, rtx:sm_89"
    ):
        validate_and_sign(store, version, Target.parse("rtx:sm_75"))


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


def test_an_export_loads_by_itself(store: Store, tmp_path: Path) -> None:
    publish(store, label="first")
    version = publish(store, label="second")
    validate_and_sign(store, version, CPU)
    folder = export(Bundle.open(store, version), tmp_path / "out" / "tiny-bundle")
    session = enginebundle.load(folder)
    assert str(session.bundle.version) == "tiny@2"
    assert session.selection[0].state == "validated"
    moved = folder.rename(tmp_path / "moved")
    assert enginebundle.load(str(moved)).bundle.version.digest == version.digest
    with pytest.raises(StoreError, match="it already exists"):
        export(Bundle.open(store, version), moved)
    assert [p.name for p in (tmp_path / "out").iterdir()] == []


def test_an_export_of_some_targets_leaves_the_others_blobs_out(
    store: Store, tmp_path: Path
) -> None:
    bundle = Bundle.open(store, publish(store))
    engine = bundle.index.variants[1].parts[0].segments[0].blob
    folder = export(bundle, tmp_path / "tiny-cpu", [CPU])
    assert not Store.open(folder).has_blob(engine)
    assert enginebundle.load(folder, target=CPU, allow_pending=True).open()
    with pytest.raises(NotFoundError, match="has no variant rtx:sm_75"):
        export(bundle, tmp_path / "none", [Target.parse("rtx:sm_75")])
    assert not (tmp_path / "none").exists()
