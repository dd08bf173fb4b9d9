"""Calls with sizes that no profile contains, and what a session tells about itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from enginebundle.errors import InputError, IntegrityError, RuntimeFailure
from enginebundle.format.index import Index
from enginebundle.format.spec import Profile, Range, Target
from enginebundle.runtimes import tensorrt_rtx
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.selection import Accepted, Choice, Rejected
from enginebundle.serve.session import Session
from enginebundle.serve.usage import Memory, Stats
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, WEIGHTS, expected, index

RTX = Target.parse("rtx:sm_89")
FEW, MANY = Profile("short", (("b", Range(1, 2, 4)),)), Profile("long", (("b", Range(8, 8, 16)),))
BOTH = (Accepted(RTX, "validated"), Accepted(CPU, "validated"))
WEIGHTS_BYTES = sum(tensor.nbytes for tensor in WEIGHTS.values())


class Runs:
    """Stands for an engine: the model by torch, and how often it was called."""

    scratch_bytes = 1000

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, values: Any, profile: str) -> dict[str, torch.Tensor]:
        self.rows.append(len(values["x"]))
        return expected(values["x"], values["mask"])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr(tensorrt_rtx, "open_engine", lambda *_: runs)
    return runs


def opened(store: Store, made: Index, target: Target, selection: Sequence[Choice]) -> Session:
    raw = made.to_bytes()
    version = store.publish(made.name, raw, default_signer().sign(raw))
    bundle = Bundle.open(store, version)
    return Session(bundle, bundle.variant(target), selection)


def bundle(store: Store, between: bool = True) -> Index:
    return replace(index(store), profiles=(FEW, MANY), between=between)


def call(session: Session, rows: int) -> None:
    x, mask = torch.randn(rows, 3), torch.rand(rows) > 0.5
    got, want = session(x, mask), expected(x, mask)
    torch.testing.assert_close(got["y"], want["y"])
    assert got["rows"].item() == rows


def test_the_torch_graph_answers_between_the_profiles_and_is_counted(
    store: Store, engine: Runs
) -> None:
    session = opened(store, bundle(store), RTX, BOTH)
    for rows in (4, 5, 8, 6, 5, 16, 7):
        call(session, rows)
    assert engine.rows == [4, 8, 16]
    assert session.stats == Stats(outside=4, opened=1, parts=1, sizes=6)
    with pytest.raises(InputError, match="no profile contains b=5"):
        session.profile_for(x=torch.ones(5, 3), mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises(FrozenInstanceError):
        session.stats.outside = 0  # type: ignore[misc]


def test_a_torch_session_answers_there_itself(store: Store) -> None:
    session = opened(store, bundle(store), CPU, ())
    for rows in (2, 6):
        call(session, rows)
    assert session.stats.outside == 1
    assert session.memory == Memory(weights=WEIGHTS_BYTES)


@pytest.mark.parametrize("rows", [0, 17, 200])
def test_beyond_all_profiles_nothing_answers(store: Store, engine: Runs, rows: int) -> None:
    nearest = "short" if rows == 0 else "long"
    session = opened(store, bundle(store), RTX, BOTH)
    x, mask = torch.ones(rows, 3), torch.ones(rows, dtype=torch.bool)
    with pytest.raises(
        InputError, match=f"no profile contains b={rows} .*the nearest is '{nearest}'"
    ):
        session(x, mask)
    assert session.stats.outside == 0


REFUSED = Rejected(CPU, "failed", "failed its validation")


@pytest.mark.parametrize(
    ("between", "selection"),
    [(False, BOTH), (True, ()), (True, (BOTH[0], REFUSED)), (True, (BOTH[0],))],
    ids=["does not hold there", "no selection", "failed", "not asked for"],
)
def test_without_a_graph_that_may_answer_it_is_an_error(
    store: Store, engine: Runs, between: bool, selection: Sequence[Choice]
) -> None:
    session = opened(store, bundle(store, between), RTX, selection)
    with pytest.raises(InputError, match=r"no profile contains b=6 .*the nearest is 'long'"):
        session(torch.ones(6, 3), torch.ones(6, dtype=torch.bool))


def test_a_torch_variant_of_several_graphs_holds_where_each_was_made_for(store: Store) -> None:
    made = bundle(store)
    cpu, rtx = made.variants
    (part,) = cpu.parts
    parts = tuple(replace(part, profiles=(name,)) for name in ("short", "long"))
    session = opened(store, replace(made, variants=(replace(cpu, parts=parts), rtx)), CPU, ())
    call(session, 3)
    with pytest.raises(InputError, match="no profile contains b=6"):
        session(torch.ones(6, 3), torch.ones(6, dtype=torch.bool))
    assert session.memory == Memory(weights=WEIGHTS_BYTES)
    call(session, 9)
    # Two graphs, one copy of the weights.
    assert session.memory == Memory(weights=WEIGHTS_BYTES, shared=WEIGHTS_BYTES)
    assert session.stats == Stats(outside=0, opened=2, parts=2, sizes=2)


def test_memory_is_of_what_is_open(store: Store, engine: Runs) -> None:
    session = opened(store, bundle(store), RTX, BOTH)
    assert session.memory == Memory()
    call(session, 2)
    held = Memory(engines=len(b"not an engine"), contexts=1000)
    assert session.memory == held
    call(session, 5)
    assert session.memory == held + Memory(weights=WEIGHTS_BYTES)
    assert session.memory.total == len(b"not an engine") + 1000 + WEIGHTS_BYTES
    session.close()
    assert session.memory == Memory()
    for rows in (5, 6, 2):
        with pytest.raises(RuntimeFailure, match="is closed"):
            call(session, rows)
    other = opened(store, bundle(store), RTX, BOTH)
    other.close()
    with pytest.raises(RuntimeFailure, match="is closed"):
        call(other, 5)
    assert other.memory == Memory()


def test_many_threads_are_counted(store: Store, engine: Runs) -> None:
    session = opened(store, bundle(store), RTX, BOTH)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: call(session, 5 + n % 3), range(96)))
    assert session.stats.outside == 96
    assert session.memory.weights == WEIGHTS_BYTES


def test_a_damaged_graph_is_an_error_when_it_is_first_needed(
    store: Store, engine: Runs, tmp_path: Path
) -> None:
    session = opened(store, bundle(store), RTX, BOTH)
    blob = session.bundle.variant(CPU).parts[0].segments[0].blob
    (path,) = (tmp_path / "store" / "blobs").rglob(blob[7:])
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)
    call(session, 3)
    with pytest.raises(IntegrityError):
        session(torch.ones(6, 3), torch.ones(6, dtype=torch.bool))
    assert session.stats.outside == 0


def test_the_index_says_so_in_one_form(store: Store) -> None:
    with_it = bundle(store)
    assert Index.from_bytes(with_it.to_bytes()) == with_it
    assert b'"between":true' in with_it.to_bytes()
    assert b"between" not in bundle(store, between=False).to_bytes()
