"""Signature documents."""

from __future__ import annotations

import base64
import json
import socket

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from enginebundle.errors import FormatError, IntegrityError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.signing import Signature, Signer, parse_public


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "none"}, "expected ed25519, got 'none'"),
        ({"key": "me"}, "expected a key id"),
        ({"signature": "AAAA"}, "expected 64 bytes in base64, got 3"),
        ({"signature": "***"}, "not base64"),
        ({"note": 1}, r"unknown keys \['note'\]"),
    ],
)
def test_a_malformed_signature_document_is_refused(change: dict[str, object], message: str) -> None:
    signer = Signer.generate()
    document = canonical_json(parse_json(signer.sign(b"data")) | change)
    with pytest.raises(FormatError, match=message):
        Signature.from_bytes(document).verify(b"data", signer.public)


def test_a_signature_holds_for_its_bytes_and_its_key_only() -> None:
    signer, other = Signer.generate(), Signer.generate()
    signature = Signature.from_bytes(signer.sign(b"data"))
    assert signature.key == signer.key_id == digest_bytes(signer.public)
    signature.verify(b"data", signer.public)
    for data, public in ((b"date", signer.public), (b"data", other.public)):
        with pytest.raises(IntegrityError) as caught:
            signature.verify(data, public)
        assert str(caught.value) == (
            f"the signature by key {signer.key_id} does not match the 4 bytes it came with: one of the "
            "two was changed. Copy or publish the bundle again"
        )


def test_a_signature_document_is_the_one_of_the_format() -> None:
    signer = Signer.generate()
    document = json.loads(signer.sign(b"data"))
    raw = base64.b64decode(document.pop("signature"))
    assert document == {"algorithm": "ed25519", "key": signer.key_id}
    Ed25519PublicKey.from_public_bytes(signer.public).verify(raw, b"data")
    with pytest.raises(FormatError, match=r"^signature document"):
        Signature.from_bytes(b"[]")
    with pytest.raises(FormatError, match=r"^signature document: missing keys \['key'\]"):
        Signature.from_bytes(b'{"algorithm":"ed25519","signature":""}')


def test_a_private_key_is_kept_as_plain_pkcs8() -> None:
    signer = Signer.generate()
    pem = signer.to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert Signer.from_pem(pem).sign(b"data") == signer.sign(b"data")
    assert Signer.generate().public != signer.public


def encrypted() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


def of_another_kind() -> bytes:
    return X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "^private key: "),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "^private key: "),
        (encrypted(), "^private key: .*encrypted"),
        (of_another_kind(), "^private key: expected ed25519, got X25519"),
    ],
)
def test_what_is_no_plain_ed25519_key_is_refused(pem: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Signer.from_pem(pem)


def test_a_public_key_is_one_line_that_reads_back() -> None:
    signer = Signer.generate()
    line = signer.public_line()
    encoded = base64.b64encode(signer.public).decode()
    assert line == f"ed25519 {encoded} {socket.gethostname()}\n"
    assert parse_public(line, "here") == signer.public
    assert parse_public(f"ed25519 {encoded}", "here") == signer.public


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected 'ed25519 BASE64"),
        ("ed25519", "expected 'ed25519 BASE64"),
        ("ssh-rsa AAAA me", "expected 'ed25519 BASE64"),
        ("ed25519 AAAA me", "expected 32 bytes in base64, got 3"),
        ("ed25519 *" + "A" * 43, "not base64"),
        ("ed25519 " + "A" * 43, "not base64"),
    ],
)
def test_a_line_that_is_no_public_key_is_refused_with_its_place(line: str, message: str) -> None:
    with pytest.raises(FormatError, match=f"^trusted/me.pub: {message}"):
        parse_public(line, "trusted/me.pub")


def test_a_signature_that_is_no_text_is_refused() -> None:
    signer = Signer.generate()
    for wrong in (5, None, ["AAAA"]):
        document = canonical_json(parse_json(signer.sign(b"data")) | {"signature": wrong})
        with pytest.raises(FormatError, match=r"^signature: expected 64 bytes in base64, got 0"):
            Signature.from_bytes(document)
