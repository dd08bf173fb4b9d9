"""Calls of a loaded variant."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

import enginebundle
from enginebundle.errors import (
    InputError,
    IntegrityError,
    NotFoundError,
    RuntimeFailure,
)
from enginebundle.format.spec import Target, Tolerance
from enginebundle.format.variant import Segment
from enginebundle.runtimes import tensorrt
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.session import Session
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import WEIGHTS, expected, index, publish, reference


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
    assert session.device == torch.device("cpu")


def test_a_graph_takes_its_own_weights_from_a_shared_blob(store: Store) -> None:
    original = index(store)
    data = save(WEIGHTS | {"of an engine": torch.ones(3)})
    shared = store.put_blob(data)
    variant = original.variants[0]
    (segment,) = variant.parts[0].segments
    part = replace(variant.parts[0], segments=(replace(segment, weights=shared),))
    blobs = (*original.blobs, (shared, len(data)))
    made = replace(original, variants=(replace(variant, parts=(part,)),), blobs=blobs)
    raw = made.to_bytes()
    bundle = Bundle.open(store, store.publish("tiny", raw, default_signer().sign(raw)))
    session = Session(bundle, bundle.index.variants[0])
    x, mask = torch.randn(2, 3), torch.ones(2, dtype=torch.bool)
    torch.testing.assert_close(session(x=x, mask=mask)["y"], expected(x, mask)["y"])
    assert session._segments._weights[shared].keys() == WEIGHTS.keys()


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


def test_a_call_by_position_and_what_a_session_tells(store: Store) -> None:
    publish(store)
    session = enginebundle.load(f"{reference(store)}@1", target="torch:cpu", allow_pending=True)
    x, mask = torch.randn(2, 3), torch.ones(2, dtype=torch.bool)
    want = session(x=x, mask=mask)["y"]
    assert torch.equal(session(x, mask)["y"], want)
    assert torch.equal(session(x, mask=mask)["y"], want)
    assert session.version == session.bundle.version
    assert repr(session) == (
        "<Session tiny@1 torch:cpu: x float32[b, 3], mask bool[b] -> y float32[b, 2], rows int64[]; "
        "profiles short, long>"
    )


def test_calls_may_be_awaited(store: Store) -> None:
    publish(store)
    session = enginebundle.load(reference(store), allow_pending=True)

    async def several() -> list[dict[str, torch.Tensor]]:
        calls = [session.acall(torch.ones(n, 3), torch.ones(n).bool()) for n in (1, 4, 9)]
        return await asyncio.gather(*calls)

    assert [found["rows"].item() for found in asyncio.run(several())] == [1, 4, 9]
    with pytest.raises(InputError):
        asyncio.run(session.acall(torch.ones(1, 3)))


def test_a_closed_session_is_not_called(store: Store) -> None:
    publish(store)
    given = {"x": torch.ones(1, 3), "mask": torch.ones(1, dtype=torch.bool)}
    with enginebundle.load(reference(store), allow_pending=True) as session:
        session(**given)
    for size in (1, 9):
        with pytest.raises(RuntimeFailure, match="tiny@1 is closed; load it again"):
            session(x=torch.ones(size, 3), mask=torch.ones(size, dtype=torch.bool))
    with pytest.raises(RuntimeFailure, match="closed"):
        session.open()
    assert not session._segments._weights
    session.close()


def test_a_session_is_warm_and_held_against_its_goldens(store: Store) -> None:
    publish(store)
    session = enginebundle.load(reference(store), allow_pending=True)
    assert session.warm_up() is session
    assert session._ways
    wrong = replace(
        session.variant,
        tolerances=tuple((name, Tolerance(0.0, 0.0)) for name, _ in session.variant.tolerances),
    )
    other = Session(session.bundle, wrong)
    usual = other._segments.open
    other._segments.open = lambda segment: (  # type: ignore[method-assign]
        lambda values, profile: {n: t + 1 for n, t in usual(segment)(values, profile).items()}
    )
    with pytest.raises(RuntimeFailure, match=r"output 'y' of the golden .* times its tolerance"):
        other.warm_up()


def test_calls_of_other_parts_do_not_wait_for_one_that_is_being_opened(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(store, publish(store))
    variant = bundle.index.variants[0]
    (part,) = variant.parts
    parts = tuple(replace(part, profiles=(name,)) for name in part.profiles)
    session = Session(bundle, replace(variant, parts=parts))
    opening, go_on = threading.Event(), threading.Event()
    usual = session._segments.open

    def slow(segment: Segment) -> Any:
        if not opening.is_set():
            opening.set()
            assert go_on.wait(60)
        return usual(segment)

    monkeypatch.setattr(session._segments, "open", slow)
    short, long = ({"x": torch.ones(n, 3), "mask": torch.ones(n).bool()} for n in (1, 16))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(session, **short)
        assert opening.wait(60)
        assert session(**long)["rows"].item() == 16
        assert not waiting.done()
        go_on.set()
        assert waiting.result(60)["rows"].item() == 1


@pytest.mark.parametrize("compatible", [False, True])
def test_only_a_version_compatible_engine_may_bring_code(
    store: Store, monkeypatch: pytest.MonkeyPatch, compatible: bool
) -> None:
    allowed = []

    def open_engine(
        data: bytes, segment: Segment, weights: object, host_code: bool, cuda_graphs: bool
    ) -> None:
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
