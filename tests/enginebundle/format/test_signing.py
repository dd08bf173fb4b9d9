"""Signature documents."""

from __future__ import annotations

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.format.signing import Signature, Signer


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
