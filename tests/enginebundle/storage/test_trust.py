"""This machine's key, and whose signatures count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from enginebundle.errors import FormatError, IntegrityError, StoreError, UntrustedError
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.role import Limit
from enginebundle.format.signing import Signer, join
from enginebundle.storage.trust import Trust, admit, default_signer


def test_the_first_use_makes_a_private_key_and_trusts_it(home: Path) -> None:
    signer = default_signer()
    assert (home / "key.pem").stat().st_mode & 0o777 == 0o600
    assert default_signer().key_id == signer.key_id
    assert Trust.default().verify(b"data", signer.sign(b"data"), "bundles") == (signer.key_id,)


def test_racing_first_uses_agree_on_one_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: default_signer(), range(8)))
    assert len({signer.key_id for signer in signers}) == 1
    assert len(Trust.default().keys) == 1


def test_a_key_that_others_can_read_is_refused(home: Path) -> None:
    default_signer()
    (home / "key.pem").chmod(0o644)
    with pytest.raises(StoreError, match="open to other users: run chmod 600"):
        default_signer()


def test_a_stranger_is_not_trusted_until_the_key_is_copied(home: Path) -> None:
    stranger = Signer.generate()
    signature = stranger.sign(b"data")
    with pytest.raises(UntrustedError, match=r"not trusted here\. If you trust its owner, copy"):
        Trust.default().verify(b"data", signature, "bundles")
    (home / "trusted").mkdir(parents=True, exist_ok=True)
    (home / "trusted" / "stranger.pub").write_text(stranger.public_line())
    assert Trust.default().verify(b"data", signature, "bundles") == (stranger.key_id,)


def test_changed_bytes_do_not_verify() -> None:
    signer = Signer.generate()
    with pytest.raises(IntegrityError, match="does not match the 5 bytes"):
        Trust.of(signer.public).verify(b"other", signer.sign(b"data"), "bundles")


def test_a_trusted_id_on_a_stranger_signature_does_not_verify() -> None:
    signer, stranger = Signer.generate(), Signer.generate()
    forged = parse_json(stranger.sign(b"data")) | {"key": signer.key_id}
    with pytest.raises(IntegrityError, match="does not match"):
        Trust.of(signer.public).verify(b"data", canonical_json(forged), "bundles")


def trusted(home: Path, signer: Signer, lines: str, name: str = "other") -> Path:
    path = home / "trusted" / f"{name}.pub"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(signer.public_line() + lines)
    return path


def test_a_key_signs_what_its_file_allows(home: Path) -> None:
    other = Signer.generate()
    trusted(home, other, "may: evidence aliases\nnames: tiny\n")
    trust, signature = Trust.default(), other.sign(b"data")
    assert trust.verify(b"data", signature, "evidence", "tiny") == (other.key_id,)
    with pytest.raises(UntrustedError) as caught:
        trust.verify(b"data", signature, "bundles", "tiny")
    assert str(caught.value) == (
        f"signed by key {other.key_id}, which may sign only evidence, aliases of tiny here, and not bundles of "
        f"tiny: its .pub file in {home}/trusted says so"
    )
    for role, name in (("evidence", "large"), ("aliases", "tiny2"), ("revocations", "")):
        with pytest.raises(UntrustedError, match=f"and not {role}"):
            trust.verify(b"data", signature, role, name)


def test_what_several_files_say_of_a_key_holds_together(home: Path) -> None:
    other = Signer.generate()
    trusted(home, other, "", "a")
    assert Trust.default().allowed("bundles", "tiny") == {other.key_id: other.public}
    trusted(home, other, "may: evidence bundles", "b")
    assert not Trust.default().allowed("aliases", "tiny")
    trusted(home, other, "names: tiny", "c")
    assert Trust.default().allowed("bundles", "tiny")
    assert not Trust.default().allowed("bundles", "large")


@pytest.mark.parametrize("lines", ["my: evidence", "may: all", "names: a/b", "may: evidence\x00"])
def test_a_key_with_a_slip_below_it_is_left_out(
    home: Path, lines: str, caplog: pytest.LogCaptureFixture
) -> None:
    signer, other = default_signer(), Signer.generate()
    path = trusted(home, other, lines)
    assert list(Trust.default().keys) == [signer.key_id]
    assert f"trusted key {path} is left out" in caplog.text


def test_adding_a_key_does_not_widen_its_limit(home: Path) -> None:
    other = Signer.generate()
    trusted(home, other, "may: evidence")
    trust = Trust.default().adding(other.keys)
    assert not trust.allowed("bundles", "tiny")
    with pytest.raises(UntrustedError) as caught:
        trust.check_signer(other, "bundles", "tiny")
    assert str(caught.value) == (
        f"key {other.key_id} can't sign bundles of tiny: here it may sign only evidence of any bundle"
    )
    trust.check_signer(other, "evidence", "tiny")


def test_admit_writes_what_a_folder_reads(home: Path, tmp_path: Path) -> None:
    other = Signer.generate()
    given = tmp_path / "theirs.pub"
    given.write_text(other.public_line())
    path = admit(given, Limit.of(["evidence"], ["tiny"]))
    assert path == home / "trusted" / f"{other.key_id.removeprefix('sha256:')}.pub"
    assert path.read_text() == other.public_line() + "may: evidence\nnames: tiny\n"
    assert Trust.default().limits == {other.key_id: (Limit.of(["evidence"], ["tiny"]),)}
    admit(path, Limit())
    assert path.read_text() == other.public_line(), "what was said before is replaced"
    given.write_bytes(b"\xff")
    for wrong in (given, tmp_path / "none.pub"):
        with pytest.raises(FormatError):
            admit(wrong, Limit())


def test_one_good_signature_of_several_is_enough() -> None:
    first, second, stranger = (Signer.generate() for _ in range(3))
    trust = Trust.of(first.public, second.public)
    both = replace(first, beside=(second,)).sign(b"data")
    assert set(trust.verify(b"data", both, "bundles")) == {first.key_id, second.key_id}
    assert Trust.of(second.public).verify(b"data", both, "bundles") == (second.key_id,)
    beside = join(stranger.sign(b"data"), first.sign(b"other"), second.sign(b"data"))
    assert trust.verify(b"data", beside, "bundles") == (second.key_id,)
    with pytest.raises(UntrustedError) as caught:
        Trust.of(stranger.public).verify(b"data", both, "bundles")
    for key in (first.key_id, second.key_id):
        assert f"signed by key {key}, which is not trusted here" in str(caught.value)
    limited = replace(trust, limits={second.key_id: (Limit.of(["evidence"]),)})
    with pytest.raises((UntrustedError, IntegrityError), match="does not match"):
        limited.verify(b"data", beside, "bundles")


def test_keys_beside_the_machine_s_own_sign_and_are_trusted(home: Path) -> None:
    old = default_signer()
    (home / "keys").mkdir()
    (home / "key.pem").rename(home / "keys" / "old.pem")
    new = default_signer()
    assert new.key_id != old.key_id
    assert list(new.keys) == [new.key_id, old.key_id]
    assert set(Trust.default().keys) == {new.key_id, old.key_id}
    assert set(Trust.default().verify(b"x", new.sign(b"x"), "bundles")) == set(new.keys)
    (home / "keys" / "same.pem").write_bytes(new.to_pem())
    (home / "keys" / "same.pem").chmod(0o600)
    assert list(default_signer().keys) == [new.key_id, old.key_id], "each key once"
    (home / "keys" / "old.pem").chmod(0o640)
    with pytest.raises(StoreError, match=r"private key .*keys/old.pem is open to other users"):
        default_signer()
