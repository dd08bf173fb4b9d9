"""Keys that are trusted for some things, and sign others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from enginebundle.errors import BundleError, StaleError, UntrustedError
from enginebundle.format.denials import Denials
from enginebundle.format.digest import canonical_json, digest_bytes
from enginebundle.format.move import Move, stamp
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.loader import load, open_bundle
from enginebundle.serve.validate import validate
from enginebundle.storage.ledger import attest, read
from enginebundle.storage.trust import Trust, default_signer
from tests.attacks.authority import NOW
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU, index, publish


@pytest.fixture
def other() -> Signer:
    return Signer.generate()


def limited(home: Path, signer: Signer, lines: str) -> Trust:
    (home / "trusted/other.pub").write_text(signer.public_line() + lines)
    return Trust.default()


def signed_by(victim: Victim, signer: Signer, name: str = "tiny") -> None:
    """The version's index, signed by this key alone."""
    raw = index(victim.store, name).to_bytes()
    victim.swap(index=raw, signature=signer.sign(raw))


def test_a_bundle_by_a_key_for_evidence_is_refused_with_the_reason(
    victim: Victim, home: Path, other: Signer
) -> None:
    signed_by(victim, other)
    limited(home, other, "")
    victim.load()
    limited(home, other, "may: evidence")
    with pytest.raises(
        UntrustedError,
        match=f"key {other.key_id}, which may sign only evidence of any bundle here, and not bundles of tiny",
    ):
        victim.load()


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        ("names: tiny", True),
        ("names: t*y large", True),
        ("may: bundles\nnames: tiny", True),
        ("may: bundles", True),
        ("names: large", False),
        ("names: tin tiny-* Tiny", False),
        ("may: aliases evidence revocations", False),
        ("may: aliases\nnames: tiny", False),
    ],
)
def test_whose_bundles_are_opened(
    victim: Victim, home: Path, other: Signer, lines: str, accepted: bool
) -> None:
    signed_by(victim, other)
    limited(home, other, lines)
    if accepted:
        victim.load()
    else:
        with pytest.raises(UntrustedError, match="and not bundles of tiny"):
            victim.load()


def test_evidence_by_a_key_for_evidence_counts(victim: Victim, home: Path, other: Signer) -> None:
    version = publish(victim.store, label="second")
    attest(victim.store, version, validate(victim.store, version, CPU), other)
    assert Bundle.open(victim.store, version).states[CPU] == "pending"
    for lines in ("may: evidence", "may: evidence\nnames: tiny", "names: tiny", ""):
        limited(home, other, lines)
        assert Bundle.open(victim.store, version).states[CPU] == "validated", lines
    for lines in ("may: bundles aliases revocations", "may: evidence\nnames: large"):
        trust = limited(home, other, lines)
        assert Bundle.open(victim.store, version).states[CPU] == "pending", lines
        ledger = read(victim.store, version, trust)
        assert (ledger.evidence, ledger.heads, ledger.missing) == ((), (), ()), (
            "nor do its heads and what was seen of it"
        )


def test_an_alias_by_a_key_for_evidence_is_refused(
    victim: Victim, home: Path, other: Signer
) -> None:
    trust = limited(home, other, "")
    victim.store.set_alias("tiny", "prod", 1, signer=other, trust=trust)
    assert open_bundle(f"{victim.root}/tiny:prod").version.number == 1
    trust = limited(home, other, "may: evidence bundles")
    with pytest.raises(UntrustedError, match=r"alias tiny:prod: .* and not aliases of tiny"):
        open_bundle(f"{victim.root}/tiny:prod")
    with pytest.raises(UntrustedError, match="can't sign aliases of tiny"):
        victim.store.set_alias("tiny", "next", 1, signer=other, trust=trust)
    assert "next" not in victim.store.aliases("tiny"), "nothing was written"
    limited(home, other, "may: aliases")
    assert open_bundle(f"{victim.root}/tiny:prod").version.number == 1


def test_what_was_seen_of_a_key_that_may_no_more_move_aliases_says_nothing(
    victim: Victim, home: Path, other: Signer
) -> None:
    limited(home, other, "")
    move = Move("tiny", "latest", 70, 1, victim.index.digest, stamp(NOW))
    document = move.to_bytes()
    path = victim.root / "bundles/tiny/aliases/latest/70.json"
    value = {"version": 1, "move": document.decode(), "signature": other.sign(document).decode()}
    path.write_bytes(canonical_json(value))
    assert open_bundle(f"{victim.root}/tiny").version.number == 1
    path.unlink()
    with pytest.raises(StaleError, match="has seen move 70"):
        open_bundle(f"{victim.root}/tiny")
    limited(home, other, "may: bundles evidence")
    assert open_bundle(f"{victim.root}/tiny").version.number == 1


@pytest.mark.parametrize("lines", ["may: bundles evidence aliases", "names: *", "names: tiny"])
def test_a_list_by_a_key_that_may_not_revoke(
    victim: Victim, home: Path, other: Signer, lines: str
) -> None:
    """A list is about all of a store, so that a key for some names signs none unless it is told to."""
    trust = limited(home, other, lines)
    with pytest.raises(UntrustedError, match="can't sign revocations"):
        victim.store.deny(indexes=[digest_bytes(b"x")], signer=other, trust=trust)
    assert not (victim.root / "revoked").exists()
    listed = Denials(1, (default_signer().key_id,), (), stamp(NOW)).to_bytes()
    (victim.root / "revoked").mkdir()
    (victim.root / "revoked/1.json").write_bytes(
        canonical_json({"list": listed.decode(), "signature": other.sign(listed).decode()})
    )
    with pytest.raises(UntrustedError, match=r"revoked/1.json: .* and not revocations"):
        victim.load()
    victim.store.deny(indexes=[digest_bytes(b"x")])
    victim.load()
    limited(home, other, "may: revocations\nnames: large")
    victim.store.deny(indexes=[digest_bytes(b"y")], signer=other)
    assert digest_bytes(b"y") in victim.store.honour().denied


def test_what_was_seen_of_a_key_that_may_no_more_revoke_says_nothing(
    victim: Victim, home: Path, other: Signer
) -> None:
    trust = limited(home, other, "")
    victim.store.deny(indexes=[digest_bytes(b"x")], signer=other, trust=trust)
    victim.load()
    shutil.rmtree(victim.root / "revoked")
    with pytest.raises(StaleError, match="has seen list 1"):
        victim.load()
    limited(home, other, "may: evidence")
    victim.load()


def test_a_trust_that_is_given_limits_too(victim: Victim, tmp_path: Path, other: Signer) -> None:
    signed_by(victim, other)
    folder = tmp_path / "keys"
    folder.mkdir()
    key = folder / "them.pub"
    key.write_text(other.public_line())
    assert load(f"{victim.root}/tiny@1", trust=folder, allow_pending=True).bundle.signers == (
        other.key_id,
    )
    key.write_text(other.public_line() + "may: evidence\n")
    with pytest.raises(UntrustedError, match=f"its .pub file in {folder} says so"):
        load(f"{victim.root}/tiny@1", trust=folder, allow_pending=True)


def test_the_machine_s_own_key_is_limited_as_any_other(victim: Victim) -> None:
    signer = default_signer()
    own = Trust.default().where / f"{signer.key_id.removeprefix('sha256:')}.pub"  # type: ignore[operator]
    own.write_text(own.read_text() + "may: evidence\n")
    with pytest.raises(UntrustedError):
        victim.load()
    version = victim.store.resolve("tiny@1")
    found = replace(validate_anyway(victim), date="2026-11-30")
    assert attest(victim.store, version, found, signer).sequence == 2
    with pytest.raises(BundleError, match="can't sign aliases of tiny"):
        victim.store.set_alias("tiny", "prod", 1)


def validate_anyway(victim: Victim):  # type: ignore[no-untyped-def]
    version = victim.store.resolve("tiny@1")
    return validate(victim.store, version, CPU, Trust.of(default_signer().public))
