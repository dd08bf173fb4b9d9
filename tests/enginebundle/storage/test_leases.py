"""A holder that was replaced writes no more, in a folder and in an object store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.storage.leases import SWEEP
from enginebundle.storage.store import Store

KEY = digest_bytes(b"key")


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
