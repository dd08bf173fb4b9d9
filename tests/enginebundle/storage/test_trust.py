"""This machine's key, and whose signatures count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebundle.errors import IntegrityError, StoreError, UntrustedError
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.signing import Signer
from enginebundle.storage.trust import Trust, default_signer


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
