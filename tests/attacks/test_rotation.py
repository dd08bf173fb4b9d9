"""A new key takes an old one's place: `kiln sign`, and documents that several keys signed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from enginebundle.errors import BundleError, RevokedError, UntrustedError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.evidence import Evidence
from enginebundle.format.signing import Signer, signatures
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.loader import load, open_bundle
from enginebundle.serve.validate import validate
from enginebundle.storage.cosign import cosign
from enginebundle.storage.ledger import attest
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.trust import Trust, default_signer
from orchestrator.cli import main
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU, publish


@pytest.fixture
def old(victim: Victim) -> Signer:
    """The key that signed all that the victim has."""
    return default_signer()


@pytest.fixture
def both(old: Signer, home: Path) -> Signer:
    """A new key, and the old one beside it."""
    (home / "keys").mkdir()
    (home / "key.pem").rename(home / "keys/old.pem")
    return default_signer()


def only(signer: Signer) -> Trust:
    return Trust.of(signer.public)


def state(victim: Victim, trust: Trust, number: int = 1) -> str:
    return Bundle.open(victim.store, victim.store.resolve(f"tiny@{number}"), trust).states[CPU]


def files(victim: Victim) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in victim.root.rglob("*") if path.is_file()}


def failed(found: Evidence) -> Evidence:
    cases = tuple(replace(case, passed=False, worst=2.0) for case in found.cases)
    return replace(found, passed=False, cases=cases, date="2026-11-29")


def test_a_new_key_takes_the_old_one_s_place(victim: Victim, both: Signer, old: Signer) -> None:
    victim.store.deny(indexes=[digest_bytes(b"x")], signer=old, trust=only(old))
    where = f"{victim.root}/tiny"
    with pytest.raises(UntrustedError):
        load(where, trust=only(both))
    assert main(["sign", "tiny@1", "--store", str(victim.root)]) == 0
    for trust in (only(both), only(old), Trust.default()):
        session = load(where, trust=trust)
        assert (session.bundle.version.number, session.selection[0].state) == (1, "validated")
        assert set(session.bundle.signers) == set(trust.keys)
        assert session.bundle.ledger.missing == ()
        assert digest_bytes(b"x") in victim.store.honour(trust).denied
    before = files(victim)
    assert main(["sign", "tiny@1", "--store", str(victim.root)]) == 0
    assert files(victim) == before, "what is signed is not signed again"


def test_what_is_signed_from_then_on_is_signed_by_both(
    victim: Victim, both: Signer, old: Signer
) -> None:
    assert main(["sign", "tiny@1", "--store", str(victim.root)]) == 0
    version = publish(victim.store, label="second")
    attest(victim.store, version, validate(victim.store, version, CPU), both)
    victim.store.deny(indexes=[digest_bytes(b"x")], signer=both)
    for trust in (only(both), only(old), Trust.default()):
        session = load(f"{victim.root}/tiny", trust=trust)
        assert session.version.number == 2
        assert session.bundle.ledger.missing == ()
    again = replace(validate(victim.store, version, CPU), date="2026-11-30")
    attest(victim.store, version, again, both)
    for trust in (only(both), only(old), Trust.default()):
        ledger = Bundle.open(victim.store, version, trust).ledger
        assert ledger.missing == ()
        assert {one.content.sequence for one in ledger.evidence} == {1, 2}
        assert {head.content.sequence for head in ledger.heads} == {2}


def test_a_failure_stays_one_for_who_trusts_the_new_key(
    victim: Victim, both: Signer, old: Signer
) -> None:
    version = victim.store.resolve("tiny@1")
    attest(victim.store, version, failed(validate(victim.store, version, CPU)), old)
    cosign(victim.store, version, both)
    assert state(victim, only(both)) == state(victim, only(old)) == "failed"


class Killed(Exception):
    """The machine that signs died."""


def dying(monkeypatch: pytest.MonkeyPatch, root: Path, after: int) -> list[str]:
    """Let it die after so many writes of records of bundles. Returns where it writes to."""
    paths: list[str] = []

    def limited(write):  # type: ignore[no-untyped-def]
        def called(self: LocalStorage, path: str, *rest: bytes) -> object:
            if self.root == root and "bundles/" in path:
                paths.append(path)
                if len(paths) > after:
                    raise Killed
            return write(self, path, *rest)

        return called

    monkeypatch.setattr(LocalStorage, "replace", limited(LocalStorage.replace))
    monkeypatch.setattr(LocalStorage, "create", limited(LocalStorage.create))
    return paths


@pytest.mark.parametrize("after", range(7))
def test_killed_in_between_nothing_is_proved_that_was_not(
    victim: Victim, both: Signer, old: Signer, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass, then a failure, then the machine that signs dies after so many writes."""
    version = victim.store.resolve("tiny@1")
    attest(victim.store, version, failed(validate(victim.store, version, CPU)), old)

    with monkeypatch.context() as patch, suppress(Killed):
        paths = dying(patch, victim.root, after)
        cosign(victim.store, version, both)
    assert len(paths) <= 6, "more writes than are tried here"
    for trust in (only(both), only(old), Trust.default()):
        try:
            assert state(victim, trust) == "failed"
        except UntrustedError:
            assert trust == only(both)
    cosign(victim.store, version, both)
    assert state(victim, only(both)) == "failed"
    assert open_bundle(f"{victim.root}/tiny", only(both)).ledger.missing == ()


@pytest.mark.parametrize("after", range(6))
def test_killed_while_it_signs_again(
    victim: Victim, both: Signer, old: Signer, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that both signed; then, by the old key, a pass and a failure: never the pass alone."""
    version = victim.store.resolve("tiny@1")
    found = validate(victim.store, version, CPU)
    attest(victim.store, version, failed(found), both)
    cosign(victim.store, version, both)
    for one in (found, failed(found)):
        attest(victim.store, version, replace(one, date="2026-11-30"), old, only(old))
    with monkeypatch.context() as patch, suppress(Killed):
        dying(patch, victim.root, after)
        cosign(victim.store, version, both)
    assert state(victim, only(both)) == "failed"


def test_evidence_after_an_old_key_is_gone(victim: Victim, both: Signer, old: Signer) -> None:
    """Without `kiln sign`, what both sign from now on still counts for who trusts the new key alone."""
    version = victim.store.resolve("tiny@1")
    victim.store.sign_version(version, both.each[0].sign(victim.store.read_index(version)[0]))
    assert state(victim, only(both)) == "pending"
    again = replace(validate(victim.store, version, CPU), date="2026-11-30")
    assert attest(victim.store, version, again, both).sequence == 2
    assert state(victim, only(both)) == state(victim, only(old)) == "validated"


def test_a_signature_taken_away_or_damaged(victim: Victim, both: Signer, old: Signer) -> None:
    version = victim.store.resolve("tiny@1")
    cosign(victim.store, version, both)
    document = victim.store.read_index(version)[1]
    mine, theirs = (
        next(parse_json(document)[n] for n, s in enumerate(signatures(document)) if s.key == key)
        for key in (both.key_id, old.key_id)
    )
    victim.swap(signature=canonical_json(theirs))
    assert state(victim, only(old)) == "validated"
    with pytest.raises(UntrustedError):
        state(victim, only(both))
    damaged = sorted([mine | {"signature": theirs["signature"]}, theirs], key=lambda s: s["key"])
    victim.swap(signature=canonical_json(damaged))
    assert state(victim, Trust.default()) == "validated", "one that is good is enough"
    with pytest.raises(BundleError, match="does not match"):
        state(victim, only(both))


def test_the_old_key_is_revoked_and_what_both_signed_stays(
    victim: Victim, both: Signer, old: Signer, home: Path
) -> None:
    publish(victim.store, label="second", alias="next")
    raw, _ = victim.store.read_index(victim.store.resolve("tiny@2"))
    path = victim.root / "bundles/tiny/versions/2.json"
    alone = victim.store.put_blob(old.sign(raw))
    path.write_bytes(canonical_json(parse_json(path.read_bytes()) | {"signature": alone}))
    cosign(victim.store, victim.store.resolve("tiny@1"), both)
    store = ["--store", str(victim.root)]
    assert main(["revoke", "--key", old.key_id, *store]) == 2, "not while it signs here itself"
    (home / "keys/old.pem").unlink()
    assert main(["revoke", "--key", old.key_id, *store]) == 0
    assert load(f"{victim.root}/tiny").selection[0].state == "validated"
    with pytest.raises(RevokedError):
        state(victim, Trust.default(), 2)
    assert main(["sign", "tiny@2", *store]) == 1, "a key that is revoked vouches for nothing"


def test_nothing_is_signed_that_no_trusted_key_signed(victim: Victim, both: Signer) -> None:
    stranger = Signer.generate()
    raw = victim.index.to_bytes()
    victim.swap(signature=stranger.sign(raw))
    before = files(victim)
    assert main(["sign", "tiny@1", "--store", str(victim.root)]) == 1
    assert files(victim) == before


def test_an_export_carries_all_signatures(
    victim: Victim, both: Signer, old: Signer, tmp_path: Path
) -> None:
    cosign(victim.store, victim.store.resolve("tiny@1"), both)
    folder = export(open_bundle(f"{victim.root}/tiny"), tmp_path / "copy")
    shutil.rmtree(victim.root)
    for trust in (only(both), only(old)):
        found = load(folder, trust=trust)
        assert (found.selection[0].state, found.bundle.ledger.missing) == ("validated", ())


@pytest.mark.parametrize("lines", ["may: evidence aliases", "names: large tin*x"])
def test_what_a_key_may_not_sign_is_not_signed_again(
    victim: Victim, both: Signer, old: Signer, home: Path, lines: str
) -> None:
    (home / "trusted/limited.pub").write_text(old.public_line() + lines)
    before = files(victim)
    with pytest.raises(UntrustedError, match="and not bundles of tiny"):
        cosign(victim.store, victim.store.resolve("tiny@1"), both)
    assert files(victim) == before


def test_a_revoked_version_is_not_signed_again(victim: Victim, both: Signer) -> None:
    version = victim.store.resolve("tiny@1")
    victim.store.deny(indexes=[version.digest])
    before = files(victim)
    with pytest.raises(
        RevokedError, match=f"^tiny@1, index {version.digest}, is revoked by list 1"
    ):
        cosign(victim.store, version, both)
    assert files(victim) == before


def test_a_trust_that_is_given_says_what_is_signed_again(
    victim: Victim, both: Signer, old: Signer
) -> None:
    version, new = victim.store.resolve("tiny@1"), both.each[0]
    with pytest.raises(UntrustedError):
        cosign(victim.store, version, new, only(Signer.generate()))
    cosign(victim.store, version, new, only(old))
    assert state(victim, only(new)) == "validated", "the old private key need not be there"


def test_those_who_sign_at_once_lose_no_signature(victim: Victim, old: Signer) -> None:
    version, signers = victim.store.resolve("tiny@1"), [Signer.generate() for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda one: cosign(victim.store, version, one, only(old)), signers))
    for one in signers:
        assert state(victim, only(one)) == "validated"
        assert open_bundle(f"{victim.root}/tiny", only(one)).ledger.missing == ()
