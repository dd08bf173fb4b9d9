"""This machine's signing key, and the public keys it trusts.

Files live in $ENGINEBUNDLE_HOME, else ~/.config/enginebundle:

    key.pem               this machine's private key (PKCS8), mode 0600, made on first use
    trusted/<id>.pub      one trusted public key per file: `ed25519 BASE64 [comment]`
    seen/                 the newest evidence that this machine has seen (enginebundle.storage.seen)

To trust another machine's bundles, copy its `trusted/<id>.pub` into this machine's `trusted/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enginebundle.errors import StoreError, UntrustedError
from enginebundle.format.digest import Digest, digest_bytes
from enginebundle.format.signing import Signature, Signer, parse_public
from enginebundle.storage.local import LocalStorage

_KEY, _TRUSTED = "key.pem", "trusted"


def home() -> Path:
    """The folder of this machine's key and of the keys it trusts."""
    named = os.environ.get("ENGINEBUNDLE_HOME")
    return Path(named) if named else Path.home() / ".config" / "enginebundle"


@dataclass(frozen=True)
class Trust:
    """The public keys whose signatures count: 32 raw bytes each, by id."""

    keys: Mapping[Digest, bytes]

    @classmethod
    def default(cls) -> Trust:
        """The keys in this machine's `trusted/` folder; none if the folder does not exist."""
        return cls.folder(home() / _TRUSTED)

    @classmethod
    def folder(cls, path: Path | str) -> Trust:
        """The keys of all `*.pub` files in a folder. FormatError if one is not a public key."""
        files = sorted(Path(path).glob("*.pub"))
        return cls.of(*[parse_public(file.read_text(), str(file)) for file in files])

    @classmethod
    def of(cls, *public: bytes) -> Trust:
        """Exactly these raw public keys."""
        return cls({digest_bytes(key): key for key in public})

    def verify(self, data: bytes, signature: bytes) -> Digest:
        """The id of the trusted key that signed `data`.

        Raises FormatError (not a signature document), UntrustedError (the key is not trusted) or
        IntegrityError (a signature of other bytes).
        """
        found = Signature.from_bytes(signature)
        public = self.keys.get(found.key)
        if public is None:
            raise UntrustedError(
                f"signed by key {found.key}, which is not trusted here. If you trust its owner, "
                f"copy the file {found.key.removeprefix('sha256:')}.pub from the owner's machine "
                f"into {home() / _TRUSTED}"
            )
        found.verify(data, public)
        return found.key


def default_signer() -> Signer:
    """This machine's key, made and trusted on first use. StoreError if other users can read it."""
    folder = home()
    storage = LocalStorage(folder)
    path = folder / _KEY
    if not path.exists():
        # create() settles a race between two first publishers: both use the key that won.
        storage.create(_KEY, Signer.generate().to_pem(), mode=0o600)
    if path.stat().st_mode & 0o077:
        raise StoreError(f"private key {path} is open to other users: run chmod 600 {path}")
    signer = Signer.from_pem(path.read_bytes())
    name = f"{_TRUSTED}/{signer.key_id.removeprefix('sha256:')}.pub"
    storage.create(name, signer.public_line().encode())
    return signer
