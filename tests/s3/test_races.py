"""Races on a real server through a proxy that loses, cuts, repeats and refuses: one wins, and knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest

from enginebundle.errors import ConflictError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.validate import validate, validate_and_sign
from enginebundle.storage.cosign import cosign
from enginebundle.storage.ledger import attest, read
from enginebundle.storage.store import Store, Version
from enginebundle.storage.trust import Trust, default_signer
from tests.enginebundle.examples import CPU, publish
from tests.s3.conftest import Weather
from tests.s3.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("seed", [1, 2, 3])]
T = TypeVar("T")
WRITERS = 4


def race(through: str, work: Callable[[Store, int], T]) -> list[T]:
    """Each writer has a client of its own."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(lambda n: work(Store.open(through), n), range(WRITERS)))


def test_creators_agree(store: Store, through: str, proxy: Proxy, seed: int) -> None:
    proxy.plan = Weather(seed)

    def create(own: Store, n: int) -> list[bytes]:
        return [own.storage.create(f"runs/{slot}", b"%d" % n) for slot in range(8)]

    got = race(through, create)
    for slot in range(8):
        assert {one[slot] for one in got} == {store.storage.get(f"runs/{slot}")}
    assert proxy.happened


def test_no_replacement_is_lost(store: Store, through: str, proxy: Proxy, seed: int) -> None:
    proxy.plan = Weather(seed)
    store.storage.put("runs/list", b"[]")

    def add(own: Store, n: int) -> None:
        for turn in range(3):
            name = f"{n}/{turn}"
            # An answer that was lost, and somebody else's turn after it, look like a refusal: so look again.
            while name not in (names := json.loads(last := own.storage.get("runs/list") or b"")):
                own.storage.replace("runs/list", last, json.dumps([*names, name]).encode())

    race(through, add)
    names = json.loads(store.storage.get("runs/list") or b"")
    assert sorted(names) == sorted(f"{n}/{turn}" for n in range(WRITERS) for turn in range(3))


def test_one_moves_an_alias(store: Store, through: str, proxy: Proxy, seed: int) -> None:
    for n in range(WRITERS):
        store.publish("m", b"%d" % n, b"sig")
    proxy.plan = Weather(seed)

    def move(own: Store, n: int) -> bool:
        try:
            own.set_alias("m", "prod", n + 1, expected=0)
        except ConflictError:
            return False
        return True

    moved = race(through, move)
    assert moved.count(True) == 1
    assert store.aliases("m") == {"prod": moved.index(True) + 1}


def test_one_claims_each_key(store: Store, through: str, proxy: Proxy, seed: int) -> None:
    proxy.plan = Weather(seed)
    keys = [digest_bytes(b"%d" % n) for n in range(4)]

    def claim(own: Store, n: int) -> list[bool]:
        return [own.claim_key(key, 1, {"id": f"{n}", "beat": 0}) for key in keys]

    got = race(through, claim)
    for index, key in enumerate(keys):
        assert [one[index] for one in got].count(True) == 1
        winner = [one[index] for one in got].index(True)
        assert store.key_lease(key) == (1, {"id": f"{winner}", "beat": 0})

    def take(own: Store, n: int) -> bool:
        return own.move_lease("leases/sweep.json", {"id": "dead"}, {"id": f"{n}"})

    store.put_lease("leases/sweep.json", {"id": "dead"})
    assert race(through, take).count(True) <= 1, "who got no answer may have been overtaken"
    assert store.lease("leases/sweep.json") != {"id": "dead"}


def test_publishers_share_out_the_numbers(
    store: Store, through: str, proxy: Proxy, seed: int
) -> None:
    proxy.plan = Weather(seed)

    def publish_two(own: Store, n: int) -> list[Version]:
        return [own.publish("m", b"index %d" % index, b"sig") for index in (n // 2, 2 + n % 2)]

    done = [version for two in race(through, publish_two) for version in two]
    assert {version.number for version in done} == {1, 2, 3, 4}
    assert {version.digest: version.number for version in done} == {
        version.digest: version.number for version in store.versions("m")
    }
    assert len(store.versions("m")) == 4


def test_evidence_has_numbers_and_heads_name_the_last(
    store: Store, through: str, proxy: Proxy, seed: int
) -> None:
    version = publish(store)
    found = validate(store, version, CPU)
    signers = default_signer(), Signer.generate()
    trust = Trust.of(*(signer.public for signer in signers))
    proxy.plan = Weather(seed, every=8)

    def write(own: Store, n: int) -> list[int]:
        dates = [f"2026-01-{2 * n + turn + 1:02}" for turn in range(2)]
        return [
            attest(own, version, replace(found, date=date), signers[n % 2], trust).sequence
            for date in dates
        ]

    numbers = sorted(number for two in race(through, write) for number in two)
    assert numbers == list(range(1, 2 * WRITERS + 1))
    whole = read(store, version, trust)
    assert whole.missing == ()
    heads = {head.signer: head.content.sequence for head in whole.heads}
    assert heads == {
        signer.key_id: max(e.content.sequence for e in whole.evidence if e.signer == signer.key_id)
        for signer in signers
    }


def test_those_who_sign_a_version_too_lose_no_signature(
    store: Store, through: str, proxy: Proxy, seed: int
) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    old, signers = default_signer(), [Signer.generate() for _ in range(WRITERS)]
    proxy.plan = Weather(seed, every=8)

    def sign(own: Store, n: int) -> None:
        cosign(own, version, signers[n], Trust.of(old.public))

    race(through, sign)
    for signer in (old, *signers):
        trust = Trust.of(signer.public)
        bundle = Bundle.open(store, store.resolve("tiny", trust), trust)
        assert (bundle.states[CPU], bundle.ledger.missing) == ("validated", ())
