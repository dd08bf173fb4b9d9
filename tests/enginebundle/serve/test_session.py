"""Calls of a loaded variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import enginebundle
from enginebundle.errors import (
    InputError,
    IntegrityError,
    NotFoundError,
    RuntimeFailure,
)
from enginebundle.format.spec import Target
from enginebundle.format.variant import Segment
from enginebundle.runtimes import tensorrt
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.session import Session
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import expected, publish, reference


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


@pytest.mark.parametrize("compatible", [False, True])
def test_only_a_version_compatible_engine_may_bring_code(
    store: Store, monkeypatch: pytest.MonkeyPatch, compatible: bool
) -> None:
    allowed = []

    def open_engine(data: bytes, segment: Segment, host_code: bool) -> None:
        allowed.append(host_code)

    monkeypatch.setattr(tensorrt, "open_engine", open_engine)
    bundle = Bundle.open(store, publish(store))
    engine = replace(bundle.index.variants[1], target=Target.parse("trt:sm_90"))
    Session(bundle, replace(engine, version_compatible=compatible)).open()
    assert allowed == [compatible]


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
