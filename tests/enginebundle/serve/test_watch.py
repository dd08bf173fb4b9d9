"""A session that follows an alias: what it switches to, when, and that no call is lost meanwhile."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

import enginebundle
from enginebundle.errors import InputError, NotFoundError, RuntimeFailure
from enginebundle.format.index import Golden
from enginebundle.serve.export import export
from enginebundle.serve.session import Session
from enginebundle.serve.validate import validate_and_sign
from enginebundle.serve.watch import Following
from enginebundle.storage.bundles import Version
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, expected, index, publish, reference

LONG = 3600.0
"""Seconds between two looks: none in a test, which looks itself."""


def put(store: Store, label: str, validated: bool = True) -> Version:
    version = publish(store, label=label)
    if validated:
        validate_and_sign(store, version, CPU)
    return version


@pytest.fixture
def session(store: Store) -> Session:
    put(store, "first")
    return enginebundle.load(reference(store))


def call(following: Following | Session, rows: int = 3) -> None:
    x, mask = torch.randn(rows, 3), torch.rand(rows) > 0.5
    torch.testing.assert_close(following(x, mask=mask)["y"], expected(x, mask)["y"])


def test_it_switches_when_the_alias_moves(store: Store, session: Session) -> None:
    with session.watch(every=LONG) as following:
        assert not following.check()
        call(following)
        assert following.session is session
        second = put(store, "second")
        assert following.check()
        assert following.version == second
        assert following.session.selection[0].state == "validated"
        call(following)
        assert (following.switches, following.trouble) == (1, "")
        with pytest.raises(RuntimeFailure, match="is closed"):
            call(session)
        assert not following.check()
        store.set_alias("tiny", "latest", 1)  # back to the first, by a move of its own
        assert following.check()
        assert following.version.number == 1
        call(following)
        last = following.session
    with pytest.raises(RuntimeFailure, match="is closed"):
        call(last)
    assert not following.check()


def test_it_looks_by_itself(store: Store, session: Session) -> None:
    switched = threading.Event()
    with session.watch(every=0.01) as following:
        usual = following._retire
        following._retire = lambda *new: (usual(*new), switched.set())  # type: ignore[assignment]
        second = put(store, "second")
        assert switched.wait(60)
        assert following.version == second
        thread = following._thread
    assert not thread.is_alive()


def test_what_was_not_proved_does_not_take_over(store: Store, session: Session) -> None:
    with session.watch(every=LONG) as following:
        second = put(store, "second", validated=False)
        assert not following.check()
        assert "no variant of tiny@2 may run here" in following.trouble
        assert following.session is session
        call(following)
        validate_and_sign(store, second, CPU)
        assert following.check()
        assert following.trouble == ""
        assert following.version == second


def test_a_version_that_misses_its_goldens_does_not_take_over(
    store: Store, session: Session
) -> None:
    wrong = index(store)
    cases = {"input.x": torch.ones(2, 3), "input.mask": torch.ones(2, dtype=torch.bool)}
    data = save(cases | {"output.y": torch.full((2, 2), 9.0), "output.rows": torch.tensor(2)})
    blob = store.put_blob(data)
    raw = replace(
        wrong, goldens=(Golden("wrong", blob),), blobs=(*wrong.blobs, (blob, len(data)))
    ).to_bytes()
    version = store.publish("tiny", raw, default_signer().sign(raw))
    store.set_alias("tiny", "canary", version.number)
    loose = enginebundle.load(reference(store), allow_pending=True)
    with pytest.raises(RuntimeFailure, match="golden 'wrong'"):
        loose.watch("canary", every=LONG)
    call(loose)  # it is the caller's still
    with loose.watch("canary", every=LONG, warm_up=False) as following:
        assert following.version == version


@pytest.mark.parametrize("harm", ["gone", "damaged", "stale"])
def test_a_store_in_trouble_leaves_what_serves(
    store: Store, session: Session, tmp_path: Path, harm: str
) -> None:
    with session.watch(every=LONG) as following:
        folder = tmp_path / "store" / "bundles" / "tiny" / "aliases" / "latest"
        put(store, "second")
        assert following.check()
        (last,) = (p for p in folder.iterdir() if p.name.startswith("2."))
        kept = last.read_bytes()
        if harm == "damaged":
            last.chmod(0o644)
            last.write_bytes(b"{")
        else:
            last.unlink()
        if harm == "gone":
            (folder / "1.json").rename(tmp_path / "1.json")
        assert not following.check()
        named = {"gone": "NotFoundError", "damaged": "FormatError", "stale": "StaleError"}[harm]
        assert following.trouble.startswith(named)
        assert following.version.number == 2
        call(following)
        if harm == "gone":
            (tmp_path / "1.json").rename(folder / "1.json")
        last.unlink(missing_ok=True)
        last.write_bytes(kept)
        assert not following.check()
        assert following.trouble == ""


def test_an_alias_that_is_elsewhere_already_is_followed_at_once(
    store: Store, session: Session
) -> None:
    second = put(store, "second")
    with session.watch(every=LONG) as following:
        assert following.version == second


def test_what_can_not_be_followed_is_said_at_once(
    store: Store, session: Session, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="alias 'none'"):
        session.watch("none")
    with pytest.raises(InputError, match="every=0"):
        session.watch(every=0)
    made = Session(session.bundle, session.variant)
    with pytest.raises(RuntimeFailure, match="expected a session from `load`"):
        made.watch()
    folder = export(session.bundle, tmp_path / "exported")
    with pytest.raises(NotFoundError):
        enginebundle.load(folder).watch()
    call(session)


def test_a_call_that_runs_keeps_its_session_open(store: Store, session: Session) -> None:
    with session.watch(every=LONG) as following:
        with following.held() as held, following.held() as again:
            assert held is again is session
            put(store, "second")
            assert following.check()
            call(session)  # still open
        with pytest.raises(RuntimeFailure, match="is closed"):
            call(session)
        with following.held() as last:
            following.close()
            call(last)  # type: ignore[arg-type]
        with pytest.raises(RuntimeFailure, match="is closed"):
            call(last)  # type: ignore[arg-type]


def test_no_call_is_lost_while_versions_change(store: Store, session: Session) -> None:
    stop = threading.Event()
    answered = [0] * 4

    def serve(worker: int) -> None:
        while not stop.is_set():
            call(following, rows=1 + answered[worker] % 16)
            if answered[worker] % 3 == 0:
                asyncio.run(following.acall(torch.ones(1, 3), torch.ones(1, dtype=torch.bool)))
            answered[worker] += 1

    with session.watch(every=0.01) as following, ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(serve, n) for n in range(4)]
        for label in ("second", "third", "fourth"):
            version = put(store, label)
            while following.version != version:
                assert not any(worker.done() for worker in workers)
        stop.set()
        for worker in workers:
            worker.result()
    assert following.switches == 3
    assert min(answered) > 0


def test_options_of_load_hold_for_later_versions(store: Store) -> None:
    put(store, "first", validated=False)
    loose = enginebundle.load(reference(store), target=CPU, allow_pending=True)
    put(store, "second", validated=False)
    with loose.watch(every=LONG) as following:
        assert following.session.selection[0].state == "pending"
        assert following.version.number == 2
