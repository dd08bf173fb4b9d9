"""Signature documents."""

from __future__ import annotations

import base64
import json
import socket
from dataclasses import replace

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
from enginebundle.format.signing import MOST, Signer, join, parse_public, signatures


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
        signatures(document)[0].verify(b"data", signer.public)


def test_a_signature_holds_for_its_bytes_and_its_key_only() -> None:
    signer, other = Signer.generate(), Signer.generate()
    (signature,) = signatures(signer.sign(b"data"))
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
    with pytest.raises(FormatError, match=r"^signature document.*got str"):
        signatures(b'"x"')
    with pytest.raises(FormatError, match=r"^signature document is not JSON"):
        signatures(b"{")
    with pytest.raises(FormatError, match=r"^signature document: missing keys \['key'\]"):
        signatures(b'{"algorithm":"ed25519","signature":""}')


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
            signatures(document)


def test_several_keys_sign_one_document() -> None:
    first, second, third = (Signer.generate() for _ in range(3))
    document = replace(first, beside=(second, third)).sign(b"data")
    found = signatures(document)
    assert [one.key for one in found] == sorted(s.key_id for s in (first, second, third))
    publics = {s.key_id: s.public for s in (first, second, third)}
    for one in found:
        one.verify(b"data", publics[one.key])
    assert join(document, first.sign(b"data")) == document == join(first.sign(b"data"), document)
    assert join(first.sign(b"data")) == first.sign(b"data"), "one signature stays what it was"
    pair = signatures(replace(first, beside=(second,)).sign(b"data"))
    assert {one.key for one in pair} == {first.key_id, second.key_id}
    assert signatures(join(first.sign(b"old"), first.sign(b"new"))) == signatures(
        first.sign(b"new")
    )


def test_a_signer_s_keys_are_its_own_first() -> None:
    first, second = Signer.generate(), Signer.generate()
    both = replace(first, beside=(second,))
    assert list(both.keys.items()) == [(s.key_id, s.public) for s in (first, second)]
    assert [one.sign(b"x") for one in both.each] == [first.sign(b"x"), second.sign(b"x")]
    assert (both.key_id, both.public) == (first.key_id, first.public)


@pytest.mark.parametrize(
    "how", ["none", "one", "twice", "descending", "too many", "nested", "not one"]
)
def test_a_list_of_signatures_is_2_to_16_by_keys_ascending(how: str) -> None:
    signers = sorted((Signer.generate() for _ in range(MOST + 1)), key=lambda s: s.key_id)
    each = [parse_json(signer.sign(b"data")) for signer in signers]
    made = {
        "none": [], "one": each[:1], "twice": [each[0], each[0]], "descending": each[1::-1],
        "too many": each, "nested": [each[:2]], "not one": [each[0], 7],
    }[how]  # fmt: skip
    with pytest.raises(FormatError, match=r"^signature document"):
        signatures(canonical_json(made))
    most = join(*(signer.sign(b"data") for signer in signers[:MOST]))
    assert most == canonical_json(each[:MOST])
    assert len(signatures(most)) == MOST
    with pytest.raises(FormatError, match=f"at most {MOST} signatures, got {MOST + 1}"):
        join(*(signer.sign(b"data") for signer in signers))
