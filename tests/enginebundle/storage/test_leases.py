"""Who holds a key, which runs are alive, and whether a sweep goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.storage.leases import SWEEP, run_path
from enginebundle.storage.store import Store

KEY, OTHER = digest_bytes(b"key"), digest_bytes(b"other")


def test_the_latest_claim_holds_a_key_until_it_is_released(store: Store) -> None:
    assert store.key_lease(KEY) == (0, None)
    assert store.claim_key(KEY, 1, {"run": "a"})
    assert store.key_lease(KEY) == (1, {"run": "a"})
    assert not store.claim_key(KEY, 1, {"run": "b"})
    assert store.key_lease(KEY) == (1, {"run": "a"})
    assert store.claim_key(KEY, 2, {"run": "b"})
    assert store.key_lease(KEY) == (2, {"run": "b"})
    assert store.key_lease(OTHER) == (0, None)
    store.release_key(KEY, 2)
    assert store.key_lease(KEY) == (0, None)


def test_numbers_are_counted_not_spelled(store: Store) -> None:
    for number in range(1, 12):
        assert store.claim_key(KEY, number, {"n": number})
    assert store.key_lease(KEY) == (11, {"n": 11})


def test_a_holder_that_was_taken_for_dead_takes_nothing_from_the_next(store: Store) -> None:
    store.claim_key(KEY, 1, {"run": "a"})
    store.claim_key(KEY, 2, {"run": "b"})
    store.beat_key(KEY, 1, {"run": "a"}, {"run": "a", "beat": 2})
    assert store.key_lease(KEY) == (2, {"run": "b"})
    store.release_key(KEY, 1)
    assert store.key_lease(KEY) == (2, {"run": "b"})
    store.release_key(OTHER, 2)
    assert store.key_lease(KEY) == (2, {"run": "b"})


def test_a_beat_shows(store: Store) -> None:
    store.claim_key(KEY, 1, {"beat": 1})
    assert store.beat_key(KEY, 1, {"beat": 1}, {"beat": 2})
    assert store.key_lease(KEY) == (1, {"beat": 2})


def test_of_many_claims_at_once_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda n: store.claim_key(KEY, 1, {"n": n}), range(16)))
    assert sum(won) == 1
    assert store.key_lease(KEY) == (1, {"n": won.index(True)})


@pytest.mark.parametrize("path", [SWEEP, run_path("r1")])
def test_a_lease_is_there_from_its_first_writing_to_its_end(path: str, store: Store) -> None:
    assert store.lease(path) is None
    store.put_lease(path, {"beat": 1})
    store.put_lease(path, {"beat": 2})
    assert store.lease(path) == {"beat": 2}
    store.end_lease(path)
    store.end_lease(path)
    assert store.lease(path) is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]"])
def test_a_damaged_lease_is_one_without_content(damaged: bytes, store: Store) -> None:
    store.claim_key(KEY, 1, {"n": 1})
    (path,) = store.storage.files("leases/keys")
    store.storage.put(path, damaged)
    assert store.key_lease(KEY) == (1, {})
    store.storage.put(run_path("r1"), damaged)
    assert store.run_leases() == {run_path("r1"): {}}


def test_runs_that_are_alive_are_listed_by_path(store: Store) -> None:
    assert store.run_leases() == {}
    store.put_lease(run_path("r1"), {"beat": 1})
    store.put_lease(run_path("r2"), {"beat": 5})
    store.put_lease(SWEEP, {"beat": 7})
    store.storage.put("leases/runs/.DS_Store", b"")
    assert store.run_leases() == {
        "leases/runs/r1.json": {"beat": 1},
        "leases/runs/r2.json": {"beat": 5},
    }


def test_where_leases_lie(store: Store) -> None:
    """As the page of the store says: other versions of the farm look there."""
    store.claim_key(KEY, 3, {})
    store.put_lease(run_path("r1"), {})
    store.put_lease(SWEEP, {})
    assert store.storage.files("leases") == [
        f"leases/keys/{KEY.removeprefix('sha256:')}/3.json",
        "leases/runs/r1.json",
        "leases/sweep.json",
    ]


@pytest.fixture(params=["store", "remote"])
def either(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


def test_a_late_beat_brings_nothing_back(either: Store) -> None:
    first, second = {"id": "1", "beat": 0}, {"id": "2", "beat": 0}
    assert either.claim_key(KEY, 1, first)
    assert either.beat_key(KEY, 1, first, first | {"beat": 1})
    assert either.claim_key(KEY, 2, second)
    either.release_key(KEY, 2)
    assert not either.beat_key(KEY, 1, first | {"beat": 1}, first | {"beat": 2})
    assert either.key_lease(KEY) == (0, None)


def test_one_of_many_claims_a_key(either: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda n: either.claim_key(KEY, 1, {"id": f"{n}"}), range(6)))
    assert got.count(True) == 1
    assert either.key_lease(KEY) == (1, {"id": f"{got.index(True)}"})


def test_one_of_many_takes_a_lease_over(either: Store) -> None:
    dead = {"id": "dead", "beat": 7}
    assert either.claim_lease(SWEEP, dead)
    assert not either.claim_lease(SWEEP, {"id": "late", "beat": 0})

    def take(n: int) -> bool:
        return either.move_lease(SWEEP, dead, {"id": f"{n}", "beat": 0})

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(take, range(6)))
    assert got.count(True) == 1
    assert either.lease(SWEEP) == {"id": f"{got.index(True)}", "beat": 0}
    assert not either.move_lease(SWEEP, dead, dead | {"beat": 8}), "the dead one beats no more"
