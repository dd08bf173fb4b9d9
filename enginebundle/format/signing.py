"""Ed25519 signatures over raw bytes. No files: enginebundle.storage.trust keeps the keys.

A public key is 32 raw bytes, and its id is their SHA-256. As text it is one line:
`ed25519 BASE64 [comment]`. A document may be signed with several keys, so that one can take another's place.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, IntegrityError
from enginebundle.format.digest import Digest, canonical_json, digest_bytes, is_digest
from enginebundle.format.parse import array, fields, json_value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
MOST = 16
"""Signatures of one document."""
_WHAT = "signature document"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature: the id of the key that signed, and the signature's 64 bytes."""

    key: Digest
    raw: bytes

    def to_json(self) -> dict[str, Any]:
        encoded = base64.b64encode(self.raw).decode()
        return {"algorithm": ALGORITHM, "key": self.key, "signature": encoded}

    @classmethod
    def from_json(cls, found: Any) -> Signature:
        """FormatError on anything unexpected."""
        value = fields(found, _WHAT, ("algorithm", "key", "signature"))
        if value["algorithm"] != ALGORITHM:
            raise FormatError(f"signature: expected {ALGORITHM}, got {value['algorithm']!r}")
        if not is_digest(value["key"]):
            raise FormatError(f"signature: expected a key id sha256:HEX, got {value['key']!r}")
        return cls(value["key"], _decode(value["signature"], 64, "signature"))

    def verify(self, data: bytes, public: bytes) -> None:
        """IntegrityError unless the owner of the raw public key signed exactly these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(public).verify(self.raw, data)
        except InvalidSignature as error:
            raise IntegrityError(
                f"the signature by key {self.key} does not match the {len(data)} bytes it came "
                "with: one of the two was changed. Copy or publish the bundle again"
            ) from error


def signatures(document: bytes) -> tuple[Signature, ...]:
    """What a signature document holds: one signature, or a list of 2 to MOST, by ids of keys ascending."""
    value = json_value(document, _WHAT)
    if not isinstance(value, list):
        return (Signature.from_json(value),)
    found = array(value, _WHAT, Signature.from_json)
    keys = [signature.key for signature in found]
    if not 2 <= len(keys) <= MOST or keys != sorted(set(keys)):
        raise FormatError(
            f"{_WHAT}: expected one signature, or 2 to {MOST} by keys ascending, got {len(keys)}"
        )
    return found


def join(*documents: bytes) -> bytes:
    """The signature document with all signatures of these; of two by one key the later."""
    found = {each.key: each for document in documents for each in signatures(document)}
    if len(found) > MOST:
        raise FormatError(f"{_WHAT}: expected at most {MOST} signatures, got {len(found)}")
    made = [found[key].to_json() for key in sorted(found)]
    return canonical_json(made if len(made) > 1 else made[0])


@dataclass(frozen=True)
class Signer:
    """A private key that signs, and others that sign beside it."""

    _private: Ed25519PrivateKey
    beside: tuple[Signer, ...] = ()

    @classmethod
    def generate(cls) -> Signer:
        """A new key, held in memory only and not yet trusted by anyone."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes) -> Signer:
        """Read an unencrypted PKCS8 key. FormatError if it is not an ed25519 key."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise FormatError(f"private key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FormatError(f"private key: expected ed25519, got {type(key).__name__}")
        return cls(key)

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS8."""
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> Digest:
        """The key's id: the digest of `public`."""
        return digest_bytes(self.public)

    @property
    def each(self) -> tuple[Signer, ...]:
        """The keys one by one, its own first."""
        return (Signer(self._private), *self.beside)

    @property
    def keys(self) -> Mapping[Digest, bytes]:
        """All its raw public keys, by id."""
        return {one.key_id: one.public for one in self.each}

    def public_line(self) -> str:
        """The public key as text, with this machine's name as the comment."""
        encoded = base64.b64encode(self.public).decode()
        return f"{ALGORITHM} {encoded} {socket.gethostname()}\n"

    def sign(self, data: bytes) -> bytes:
        """A signature document over the raw bytes, with a signature of each key."""
        own = Signature(self.key_id, self._private.sign(data))
        return join(canonical_json(own.to_json()), *(one.sign(data) for one in self.beside))


def parse_public(text: str, where: str) -> bytes:
    """The raw key of a line as `Signer.public_line` writes it. FormatError, naming `where`."""
    words = text.split()
    if len(words) < 2 or words[0] != ALGORITHM:
        raise FormatError(f"{where}: expected '{ALGORITHM} BASE64 [comment]'")
    return _decode(words[1], 32, where)


def _decode(text: object, length: int, what: str) -> bytes:
    try:
        raw = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError as error:  # binascii.Error is one; text beyond ASCII raises another
        raise FormatError(f"{what}: not base64: {error}") from error
    if len(raw) != length:
        raise FormatError(f"{what}: expected {length} bytes in base64, got {len(raw)}")
    return raw
