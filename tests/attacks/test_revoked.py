"""Keys and versions that a store's owners revoked, and lists that somebody sets back, forges or damages."""

from __future__ import annotations

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    NoVariantError,
    RevokedError,
    StaleError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.denials import Denials
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.move import LAST
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export, open_export
from enginebundle.serve.loader import load
from enginebundle.serve.validate import validate
from enginebundle.storage import denials
from enginebundle.storage.denials import DenialStore
from enginebundle.storage.ledger import attest
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust, default_signer
from tests.attacks import mutate
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU, index, publish

DATE = "2026-11-01T00:00:00Z"


@pytest.fixture
def second() -> Signer:
    """Another key that the services trust."""
    return Signer.generate()


@pytest.fixture
def trust(second: Signer) -> Trust:
    return Trust.of(default_signer().public, second.public)


def lists(victim: Victim) -> Path:
    return victim.root / "revoked"


def put(victim: Victim, denials: Denials, signer: Signer, slot: int | None = None) -> None:
    document = denials.to_bytes()
    record = {"list": document.decode(), "signature": signer.sign(document).decode()}
    lists(victim).mkdir(exist_ok=True)
    path = lists(victim) / f"{denials.sequence if slot is None else slot}.json"
    path.write_bytes(canonical_json(record))


def opened(victim: Victim, trust: Trust, name: str = "tiny") -> str:
    return str(load(f"{victim.root}/{name}", trust=trust, allow_pending=True).bundle.version)


def test_a_store_without_a_list_revokes_nothing(victim: Victim, trust: Trust) -> None:
    heard = victim.store.honour(trust)
    assert heard.keys == trust.keys
    assert heard.denied == {}
    assert opened(victim, trust) == "tiny@1"


def test_a_revoked_version_is_not_opened_by_any_name(victim: Victim, trust: Trust) -> None:
    other = publish(victim.store, label="second", alias="next")
    assert victim.store.deny(indexes=[victim.index.digest]).sequence == 1
    for name in ("tiny", "tiny@1", f"tiny@{victim.index.digest}"):
        with pytest.raises(
            RevokedError, match=r"tiny@1, index sha256:.* revoked by list 1 of store"
        ):
            opened(victim, trust, name)
    assert opened(victim, trust, "tiny:next") == str(other)
    victim.store.deny(indexes=[victim.index.digest], undo=True)
    assert opened(victim, trust) == "tiny@1"


def test_a_revoked_key_signs_no_version_and_no_alias(
    victim: Victim, trust: Trust, second: Signer
) -> None:
    raw = index(victim.store, label="theirs").to_bytes()
    theirs = victim.store.publish("tiny", raw, second.sign(raw))
    victim.store.set_alias("tiny", "next", 1, signer=second, trust=trust)
    assert opened(victim, trust, "tiny@2") == str(theirs)
    assert opened(victim, trust, "tiny:next") == "tiny@1"
    victim.store.deny([second.key_id])
    for name in ("tiny@2", "tiny:next"):
        with pytest.raises(
            RevokedError, match=r"revoked by list 1 .* its signatures count as none"
        ):
            opened(victim, trust, name)
    assert opened(victim, trust) == "tiny@1"
    victim.store.set_alias("tiny", "next", 1, trust=trust)
    assert opened(victim, trust, "tiny:next") == "tiny@1", "signed anew by the other key"


def test_a_revoked_key_gives_no_evidence(victim: Victim, trust: Trust, second: Signer) -> None:
    version = publish(victim.store, label="unproved", alias="next")
    found = validate(victim.store, version, CPU)
    attest(victim.store, version, found, second, trust)
    assert Bundle.open(victim.store, version, trust).states[CPU] == "validated"
    victim.store.deny([second.key_id])
    assert Bundle.open(victim.store, version, trust).states[CPU] == "pending"
    with pytest.raises(NoVariantError):
        load(f"{victim.root}/tiny:next", trust=trust)


def test_a_revoked_key_is_told_when_it_signs(victim: Victim, trust: Trust, second: Signer) -> None:
    victim.store.deny([second.key_id])
    version = victim.store.resolve("tiny@1")
    found = replace(validate(victim.store, version, CPU), date="2026-11-02")
    for sign in (
        lambda: attest(victim.store, version, found, second, trust),
        lambda: victim.store.set_alias("tiny", "prod", 1, signer=second, trust=trust),
        lambda: victim.store.deny(indexes=[version.digest], signer=second, trust=trust),
    ):
        with pytest.raises(RevokedError, match=f"key {second.key_id} .*revoked"):
            sign()


def test_a_key_can_t_revoke_itself(victim: Victim, trust: Trust) -> None:
    own = default_signer()
    with pytest.raises(FormatError, match="can't revoke itself"):
        victim.store.deny([own.key_id])
    put(victim, Denials(1, (own.key_id,), (), DATE), own)
    with pytest.raises(RevokedError):
        opened(victim, trust)


def test_lists_add_up_and_what_changes_nothing_signs_nothing(
    victim: Victim, second: Signer
) -> None:
    a, b = digest_bytes(b"a"), digest_bytes(b"b")
    assert victim.store.deny(indexes=[b]).indexes == (b,)
    both = victim.store.deny([second.key_id], [a])
    assert (both.sequence, both.keys, both.indexes) == (2, (second.key_id,), tuple(sorted([a, b])))
    assert victim.store.deny([second.key_id], [a]) == both
    assert victim.store.deny(indexes=[digest_bytes(b"c")], undo=True) == both
    assert victim.store.deny(indexes=[b], undo=True).indexes == (a,)


# Set back, forged, damaged


@pytest.mark.parametrize("left", [0, 1])
def test_the_last_list_taken_away(victim: Victim, trust: Trust, left: int) -> None:
    victim.store.deny(indexes=[digest_bytes(b"x")])
    victim.store.deny(indexes=[victim.index.digest])
    for number in (2, 1)[: 2 - left]:
        (lists(victim) / f"{number}.json").unlink()
    with pytest.raises(StaleError, match=f"has list {left or 'none'} of .*has seen list 2"):
        opened(victim, trust)
    again = victim.store.deny(indexes=[digest_bytes(b"y")])
    assert again.sequence == 3
    assert {victim.index.digest, digest_bytes(b"x")} < set(again.indexes), "it was remembered"
    with pytest.raises(RevokedError):
        opened(victim, trust)


def test_a_list_of_nothing_is_remembered_as_well(victim: Victim, trust: Trust) -> None:
    """What was taken off the list again: the list before it is no longer the last."""
    victim.store.deny(indexes=[digest_bytes(b"x")])
    victim.store.deny(indexes=[digest_bytes(b"x")], undo=True)
    (lists(victim) / "2.json").unlink()
    with pytest.raises(StaleError, match=r"has list 1 of .*has seen list 2"):
        opened(victim, trust)


def test_a_revoked_key_can_t_take_itself_off_the_list(
    victim: Victim, trust: Trust, second: Signer
) -> None:
    victim.store.deny([second.key_id])
    with pytest.raises(RevokedError):
        victim.store.move(_pointer(victim, second, trust), trust)
    put(victim, Denials(2, (), (), DATE), second)
    with pytest.raises(
        RevokedError,
        match=r"revoked/2.json: signed by key .* which is revoked.* Sign another .*: kiln revoke$",
    ):
        opened(victim, trust)
    put(victim, Denials(2, (default_signer().key_id,), (), DATE), second)
    with pytest.raises(RevokedError, match=r"revoked/2.json: signed by key"):
        opened(victim, trust)
    healed = victim.store.deny(indexes=[digest_bytes(b"x")])
    assert (healed.sequence, healed.keys) == (3, (second.key_id,))
    assert opened(victim, trust) == "tiny@1"


def _pointer(victim: Victim, signer: Signer, trust: Trust):  # type: ignore[no-untyped-def]
    """An alias that a key signed before it was revoked."""
    from enginebundle.format.move import Move
    from enginebundle.storage.pointer import Pointer

    document = Move("tiny", "prod", 1, 1, victim.index.digest, DATE).to_bytes()
    return Pointer("tiny", "prod", 1, 1, document, signer.sign(document))


def test_a_list_by_a_key_that_is_not_trusted(victim: Victim, trust: Trust) -> None:
    put(victim, Denials(1, (default_signer().key_id,), (), DATE), Signer.generate())
    with pytest.raises(UntrustedError, match=r"revoked/1.json: signed by key .* not trusted here"):
        opened(victim, trust)


def test_a_list_under_another_number(victim: Victim, trust: Trust) -> None:
    victim.store.deny(indexes=[digest_bytes(b"x")])
    shutil.copy(lists(victim) / "1.json", lists(victim) / "7.json")
    with pytest.raises(IntegrityError, match="what is signed is list 1"):
        opened(victim, trust)


def test_a_list_with_a_gap_before_it_counts(victim: Victim, trust: Trust) -> None:
    put(victim, Denials(9, (), (victim.index.digest,), DATE), default_signer())
    with pytest.raises(RevokedError, match="list 9"):
        opened(victim, trust)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"null", b"{}", b"[" * 60_000, b"0" * 600_000,
        b'{"list":"{}"}', b'{"list":"{}","signature":"{}"}', b'{"list":7,"signature":7}',
        b'{"list":"\\ud800","signature":"x"}',
    ],
)  # fmt: skip
def test_a_damaged_list_is_an_error_and_healed(
    victim: Victim, trust: Trust, content: bytes
) -> None:
    lists(victim).mkdir()
    (lists(victim) / "1.json").write_bytes(content)
    with pytest.raises(
        BundleError, match=r"revoked/1\.json|^(list|signature): expected text|^signature"
    ):
        opened(victim, trust)
    victim.store.deny(indexes=[digest_bytes(b"x")])
    assert opened(victim, trust) == "tiny@1"


def test_mutants_that_are_signed(victim: Victim, trust: Trust) -> None:
    draw, refused = random.Random(14), 0
    good = Denials(1, (digest_bytes(b"k"),), (victim.index.digest,), DATE).to_bytes()
    for _ in range(150):
        document = mutate.text(mutate.tree(draw, parse_json(good))).decode(errors="replace")
        signature = default_signer().sign(document.encode()).decode()
        lists(victim).mkdir(exist_ok=True)
        record = canonical_json({"list": document, "signature": signature})
        (lists(victim) / "1.json").write_bytes(record)
        try:
            assert opened(victim, trust, "tiny@1") == "tiny@1"
        except BundleError:
            refused += 1
    assert refused > 100


def test_an_export_carries_the_list(victim: Victim, trust: Trust, tmp_path: Path) -> None:
    victim.store.deny(indexes=[digest_bytes(b"x")])
    folder = export(Bundle.open(victim.store, victim.store.resolve("tiny")), tmp_path / "copy")
    store, version = open_export(folder)
    assert Bundle.open(store, version, trust).version == version
    store.deny(indexes=[version.digest])
    with pytest.raises(RevokedError, match="list 2"):
        load(folder, trust=trust)


def test_two_that_revoke_at_once_lose_nothing(victim: Victim) -> None:
    digests = [digest_bytes(b"%d" % n) for n in range(6)]

    def deny(digest: str) -> None:
        Store.open(victim.root).deny(indexes=[digest])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(deny, digests))
    heard = victim.store.honour()
    assert set(heard.denied) == set(digests)
    assert len(list(lists(victim).iterdir())) == 6


def test_a_store_is_the_same_one_by_whatever_name(victim: Victim, tmp_path: Path) -> None:
    """What this machine remembers is of one store: a link to it is no other, nor are a bucket's options."""
    link = tmp_path / "link"
    link.symlink_to(victim.root)
    real = os.path.realpath(victim.root / "bundles")
    for store in (victim.store, Store.open(link)):
        assert store._subject() == digest_bytes(os.fsencode(f"{real}\0"))
        assert store._subject("tiny") == digest_bytes(os.fsencode(f"{real}\0tiny"))
    far = SimpleNamespace(storage=None, local=lambda path: None)
    for place, name in {"x/?region=eu-west-1": "x", "x": "x", "X/": "X", "x?a=?": "x"}.items():
        bucket = DenialStore(f"s3://bucket/{place}", far)
        assert bucket._subject("tiny") == digest_bytes(f"s3://bucket/{name}\0tiny".encode())


def test_an_export_carries_the_last_list_alone(
    victim: Victim, trust: Trust, second: Signer, tmp_path: Path
) -> None:
    for number in range(3):
        victim.store.deny(indexes=[digest_bytes(bytes([number]))], signer=second, trust=trust)
    bundle = Bundle.open(victim.store, victim.store.resolve("tiny@1"), trust)
    folder = export(bundle, tmp_path / "out")
    assert os.listdir(folder / "revoked") == ["3.json"]


def test_numbers_and_lists_end(
    victim: Victim, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(victim).mkdir()
    (lists(victim) / f"{LAST - 1}.json").write_bytes(b"{}")
    assert victim.store.deny(indexes=[digest_bytes(b"x")], trust=trust).sequence == LAST
    with pytest.raises(StoreError, match=f"^no number is left after {LAST}: remove revoked/{LAST}"):
        victim.store.deny(indexes=[digest_bytes(b"y")], trust=trust)
    shutil.rmtree(lists(victim))
    monkeypatch.setattr(denials, "MAX_BYTES", 100)
    fresh = Store.open(victim.root.parent / "fresh", create=True)
    with pytest.raises(FormatError, match=r"^a list of \d+ bytes, expected at most 100$") as told:
        fresh.deny(indexes=[digest_bytes(b"x")], trust=trust)
    size = int(str(told.value).split()[3])
    monkeypatch.setattr(denials, "MAX_BYTES", size)
    fresh.deny(indexes=[digest_bytes(b"x")], trust=trust)


@pytest.mark.parametrize("past", [1, 20_000])
def test_a_list_that_is_too_long_is_neither_read_nor_copied(
    victim: Victim, trust: Trust, tmp_path: Path, past: int
) -> None:
    lists(victim).mkdir()
    (lists(victim) / "1.json").write_bytes(b" " * (2 * denials.MAX_BYTES + past))
    other = Store.open(tmp_path / "other", create=True)
    for use in (lambda: opened(victim, trust), lambda: victim.store.copy_denials(other)):
        with pytest.raises(FormatError, match=f"expected at most {2 * denials.MAX_BYTES}"):
            use()
    assert not (tmp_path / "other" / "revoked").exists()


def test_a_signer_need_not_be_trusted_to_start_a_list(tmp_path: Path, second: Signer) -> None:
    """Whoever signs knows the own key; services decide whether they trust it."""
    store = Store.open(tmp_path / "fresh", create=True)
    nobody = Trust.of()
    store.deny(indexes=[digest_bytes(b"x")], signer=second, trust=nobody)
    assert store.deny(indexes=[digest_bytes(b"y")], signer=second, trust=nobody).sequence == 2
    listed = store.deny(indexes=[digest_bytes(b"y")], signer=second, trust=nobody)
    assert (listed.sequence, len(listed.indexes)) == (2, 2)


def test_an_honoured_trust_is_not_asked_for_again(
    victim: Victim, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = victim.store.honour(trust)
    monkeypatch.setattr(DenialStore, "_last", lambda self, trust: pytest.fail("asked again"))
    assert victim.store.honour(heard) is heard
