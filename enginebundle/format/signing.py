"""Ed25519 signatures over raw bytes, and the keys that this machine trusts.

Files live in $ENGINEBUNDLE_HOME, else ~/.config/enginebundle:

    key.pem               this machine's private key (PKCS8), mode 0600, made on first use
    trusted/<id>.pub      one trusted public key a file: `ed25519 BASE64 [comment]`

A key's id is the sha256 of its 32 raw bytes. To trust another machine's bundles, copy its
`trusted/<id>.pub` into this machine's `trusted/`.
"""

from __future__ import annotations

import base64
import binascii
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, IntegrityError, StoreError, UntrustedError
from enginebundle.format.digest import Digest, canonical_json, digest_bytes, is_digest, parse_json
from enginebundle.format.spec import fields
from enginebundle.storage.local import LocalStorage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
_KEY, _TRUSTED = "key.pem", "trusted"


def home() -> Path:
    """The folder of this machine's key and of the keys it trusts."""
    named = os.environ.get("ENGINEBUNDLE_HOME")
    return Path(named) if named else Path.home() / ".config" / "enginebundle"


@dataclass(frozen=True)
class Trust:
    """Public keys (32 raw bytes) by id."""

    keys: Mapping[Digest, bytes]

    @classmethod
    def default(cls) -> Trust:
        """The keys in this machine's `trusted/` folder; none if there is no such folder."""
        return cls.folder(home() / _TRUSTED)

    @classmethod
    def folder(cls, path: Path | str) -> Trust:
        """All `*.pub` files of a folder. FormatError if one is not a public key."""
        files = sorted(Path(path).glob("*.pub"))
        return cls.of(*[_parse_public(file.read_text(), str(file)) for file in files])

    @classmethod
    def of(cls, *public: bytes) -> Trust:
        """Trust exactly these raw public keys."""
        return cls({digest_bytes(key): key for key in public})


@dataclass(frozen=True)
class Signer:
    """A private key that signs."""

    _private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Signer:
        """A new key, kept in memory only and trusted by nobody yet."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def default(cls) -> Signer:
        """This machine's key, made and trusted on first use. StoreError if it can't be kept safely."""
        folder = home()
        storage = LocalStorage(folder)
        path = folder / _KEY
        if not path.exists():
            # create() settles a race of two first publishers: both go on with the one key that won.
            storage.create(_KEY, cls.generate()._pem(), mode=0o600)
        if path.stat().st_mode & 0o077:
            raise StoreError(f"private key {path} is open to other users: run chmod 600 {path}")
        signer = cls.from_pem(path.read_bytes())
        name = f"{_TRUSTED}/{signer.key_id.removeprefix('sha256:')}.pub"
        storage.create(name, signer.public_line().encode())
        return signer

    @classmethod
    def from_pem(cls, data: bytes) -> Signer:
        """Read an unencrypted PKCS8 key. FormatError if it is no ed25519 key."""
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

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> Digest:
        """The key's id: the digest of `public`."""
        return digest_bytes(self.public)

    def public_line(self) -> str:
        """What a `.pub` file holds."""
        encoded = base64.b64encode(self.public).decode()
        return f"{ALGORITHM} {encoded} {socket.gethostname()}\n"

    def sign(self, data: bytes) -> bytes:
        """A signature document over the raw bytes, as canonical JSON."""
        signature = base64.b64encode(self._private.sign(data)).decode()
        return canonical_json({"algorithm": ALGORITHM, "key": self.key_id, "signature": signature})

    def _pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verify(data: bytes, signature: bytes, trusted: Trust | None = None) -> Digest:
    """The id of the trusted key that signed `data`. `trusted` defaults to this machine's keys.

    Raises FormatError (no signature document), UntrustedError (by a key that is not trusted here) or
    IntegrityError (not a signature of these bytes).
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key_id, raw = _parse_signature(signature)
    public = (Trust.default() if trusted is None else trusted).keys.get(key_id)
    if public is None:
        raise UntrustedError(
            f"signed by key {key_id}, which is not trusted here. If you trust its owner, copy the "
            f"file {key_id.removeprefix('sha256:')}.pub from there into {home() / _TRUSTED}"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, data)
    except InvalidSignature as error:
        raise IntegrityError(
            f"the signature by key {key_id} does not match the {len(data)} bytes it came with: "
            "one of the two was changed. Copy or publish the bundle again"
        ) from error
    return key_id


def _parse_signature(data: bytes) -> tuple[Digest, bytes]:
    try:
        value: Any = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"signature document is not JSON: {error}") from error
    value = fields(value, "signature document", ("algorithm", "key", "signature"))
    if value["algorithm"] != ALGORITHM:
        raise FormatError(f"signature: expected {ALGORITHM}, got {value['algorithm']!r}")
    if not is_digest(value["key"]):
        raise FormatError(f"signature: expected a key id sha256:HEX, got {value['key']!r}")
    return value["key"], _decode(value["signature"], 64, "signature")


def _parse_public(text: str, where: str) -> bytes:
    words = text.split()
    if len(words) < 2 or words[0] != ALGORITHM:
        raise FormatError(f"{where}: expected '{ALGORITHM} BASE64 [comment]'")
    return _decode(words[1], 32, where)


def _decode(text: object, length: int, what: str) -> bytes:
    try:
        raw = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except binascii.Error as error:
        raise FormatError(f"{what}: not base64: {error}") from error
    if len(raw) != length:
        raise FormatError(f"{what}: expected {length} bytes in base64, got {len(raw)}")
    return raw
