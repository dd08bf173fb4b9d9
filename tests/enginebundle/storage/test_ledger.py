"""Evidence is added by any number of writers at once: each gets a number of its own."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from enginebundle.errors import ConflictError, FormatError, StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import Evidence
from enginebundle.format.signing import Signer
from enginebundle.format.spec import Target
from enginebundle.serve.validate import validate
from enginebundle.storage.bundles import Version
from enginebundle.storage.ledger import Ledger, attest, read
from enginebundle.storage.seen import seen
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.enginebundle.examples import CPU, publish


@pytest.fixture
def version(store: Store) -> Version:
    return publish(store)


@pytest.fixture
def found(store: Store, version: Version) -> Evidence:
    return validate(store, version, CPU)


def ledger(store: Store, version: Version, *signers: Signer) -> Ledger:
    return read(store, version, Trust.of(*(signer.public for signer in signers)))


def test_writers_at_once_get_a_number_each_and_the_head_names_the_last(
    store: Store, version: Version, found: Evidence
) -> None:
    signers = default_signer(), Signer.generate()
    trust = Trust.of(*(signer.public for signer in signers))

    def write(n: int) -> int:
        own = replace(found, date=f"2026-01-{n + 1:02}")
        return attest(store, version, own, signers[n % 2], trust).sequence

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(write, range(12)))
    assert sorted(numbers) == list(range(1, 13))
    whole = ledger(store, version, *signers)
    assert whole.missing == ()
    assert len(whole.evidence) == 12
    heads = {head.signer: head.content.sequence for head in whole.heads}
    last = {s.key_id: max(e.content.sequence for e in whole.evidence if e.signer == s.key_id)
            for s in signers}  # fmt: skip
    assert heads == last


def test_a_slow_writer_does_not_set_the_head_back(
    store: Store, version: Version, found: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, put = default_signer(), store.put_head

    class Killed(Exception):
        pass

    def slow(*about: object) -> bool:
        """Between its look and its write another writes evidence and head; after it, it is killed."""
        monkeypatch.setattr(store, "put_head", put)
        attest(store, version, replace(found, date="2026-01-02"), signer)
        put(*about)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(store, "put_head", slow)
    with pytest.raises(Killed):
        attest(store, version, replace(found, date="2026-01-01"), signer)
    whole = ledger(store, version, signer)
    assert [head.content.sequence for head in whole.heads] == [2]
    assert sorted(one.content.sequence for one in whole.evidence) == [1, 2]


def test_what_another_trusted_key_signed_is_not_signed_again(
    store: Store, version: Version, found: Evidence
) -> None:
    """Which keys are trusted is the caller's to say."""
    me, other = default_signer(), Signer.generate()
    theirs = attest(store, version, found, other)
    both = Trust.of(me.public, other.public)
    assert attest(store, version, found, me, both) == theirs
    assert attest(store, version, found, me).sequence == 2, "this machine does not trust that key"
    assert [one.signer for one in read(store, version, both).evidence] == [other.key_id, me.key_id]


def test_the_first_number_is_remembered_as_every_other(
    store: Store, version: Version, found: Evidence
) -> None:
    signer = default_signer()
    for number in (1, 2):
        attest(store, version, replace(found, date=f"2026-01-0{number}"), signer)
        ledger(store, version, signer)
        assert seen(version.digest, Target.parse) == {(CPU, signer.key_id): number}


def test_a_number_that_a_stranger_took_is_left_out(
    store: Store, version: Version, found: Evidence
) -> None:
    assert store.add_evidence(version, CPU, 7, b"nonsense", b"no signature")
    assert attest(store, version, found, default_signer()).sequence == 8
    assert [e.content.sequence for e in ledger(store, version, default_signer()).evidence] == [8]


def test_evidence_from_before_there_were_numbers_stays_and_is_the_oldest(
    store: Store, version: Version, found: Evidence
) -> None:
    signer = default_signer()
    old = replace(found, passed=False, date="2999-01-01").to_bytes()
    store.put_evidence(version, CPU, old, signer.sign(old))
    whole = ledger(store, version, signer)
    assert (whole.missing, len(whole.evidence)) == ((), 1)
    assert whole.last(CPU, signer.key_id) is None
    first = attest(store, version, found, signer)
    assert (first.sequence, first.previous) == (1, None), "what has no number comes before nothing"
    whole = ledger(store, version, signer)
    assert (whole.missing, len(whole.evidence)) == ((), 2)
    again = replace(found, passed=False, date="2999-01-01")
    assert attest(store, version, again, signer).sequence == 0, "it is signed already"


GONE = {
    "nothing": ([], []),
    "the last": (["evidence 3"], [(3, "number 3, which the key's head names")]),
    "the head": (["head"], [(4, "the store has none of the key's heads, which name its last")]),
    "the first": (["evidence 1"], [(1, "the one of the same key before number 2")]),
    "the last two": (
        ["evidence 2", "evidence 3"],
        [(3, "number 3, which the key's head names")],
    ),
    "the last and the head": (
        ["evidence 3", "head"],
        [
            (3, "the store has none of the key's heads, which name its last"),
            (3, "this machine saw number 3, and it is gone"),
        ],
    ),
    "all evidence": (
        ["evidence 1", "evidence 2", "evidence 3"],
        [(3, "number 3, which the key's head names")],
    ),
    "all": (
        ["evidence 1", "evidence 2", "evidence 3", "head"],
        [(3, "this machine saw number 3, and it is gone")],
    ),
}
"""What is taken away -> the gaps that this leaves, each told once."""


@pytest.mark.parametrize("what", GONE)
def test_each_gap_is_told_once_with_the_number_that_is_missing(
    store: Store, version: Version, found: Evidence, what: str
) -> None:
    signer = default_signer()
    for day in (1, 2, 3):
        attest(store, version, replace(found, date=f"2026-01-0{day}"), signer)
    taken, gaps = GONE[what]
    for one in taken:
        kind, _, number = one.partition(" ")
        folder = "evidence" if kind == "evidence" else "heads"
        paths = store.storage.files(f"bundles/{version.name}/{folder}")
        (path,) = [path for path in paths if not number or path.endswith(f"/{number}.json")]
        store.storage.remove(path)
    about = f" (target {CPU}, key {signer.key_id})"
    told = [(one.target, one.sequence, one.why) for one in ledger(store, version, signer).missing]
    assert told == [(CPU, number, why + about) for number, why in gaps]


@pytest.mark.parametrize("kept", ["add_evidence", "put_head"])
def test_a_store_that_keeps_nothing_ends_a_writer(
    store: Store, version: Version, found: Evidence, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's tool that removes what it does not know, say: no writer tries for ever."""
    tries = []
    monkeypatch.setattr(store, kept, lambda *about: bool(tries.append(about)))
    told = (
        f"evidence about {version} on {CPU} was written 100 times, and the store does not show it"
    )
    with pytest.raises(StoreError, match=re.escape(told)):
        attest(store, version, found, default_signer())
    assert len(tries) == 100


@pytest.mark.parametrize("lost", [1, 99])
def test_a_writer_that_loses_to_others_tries_again(
    store: Store, version: Version, found: Evidence, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, tries = store.add_evidence, []

    def late(version: Version, target: Target, number: int, data: bytes, signature: bytes) -> bool:
        tries.append(number)
        return len(tries) > lost and add(version, target, number, data, signature)

    monkeypatch.setattr(store, "add_evidence", late)
    assert attest(store, version, found, default_signer()).sequence == 1
    assert len(tries) == lost + 1
    assert ledger(store, version, default_signer()).missing == ()


def test_what_can_t_be_signed(store: Store, version: Version, found: Evidence) -> None:
    with pytest.raises(ConflictError, match="evidence about index"):
        attest(store, version, replace(found, index=digest_bytes(b"x")), default_signer())
    with pytest.raises(FormatError, match="it has no cases"):
        attest(store, version, replace(found, cases=()), default_signer())
    assert store.evidence(version) == []


def test_a_home_that_can_t_be_written_remembers_nothing(
    store: Store, version: Version, found: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = default_signer()
    attest(store, version, found, signer)
    monkeypatch.setenv("ENGINEBUNDLE_HOME", "/proc/no-such-home")
    whole = ledger(store, version, signer)
    assert (whole.missing, whole.seen) == ((), {})
    assert len(whole.evidence) == 1


def test_evidence_that_comes_while_a_reader_looks_is_not_missing(
    store: Store, version: Version, found: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process of this machine signs it, and remembers that, once the reader has read the evidence."""
    signer, look = default_signer(), store.evidence
    attest(store, version, found, signer)

    def late(*given: object) -> object:
        documents = look(*given)  # type: ignore[arg-type]
        attest(Store.open(store.uri), version, replace(found, date="2027-01-01"), signer)
        return documents

    monkeypatch.setattr(store, "evidence", late)
    assert ledger(store, version, signer).missing == ()
