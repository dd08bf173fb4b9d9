"""This machine's signing key, and the public keys it trusts.

Files live in $ENGINEBUNDLE_HOME, else ~/.config/enginebundle:

    key.pem               this machine's private key (PKCS8), mode 0600, made on first use
    trusted/<id>.pub      one trusted public key per file: `ed25519 BASE64 [comment]`
    seen/                 the newest evidence that this machine has seen (enginebundle.storage.seen)

To trust another machine's bundles, copy its `trusted/<id>.pub` into this machine's `trusted/`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from enginebundle.errors import FormatError, RevokedError, StoreError, UntrustedError
from enginebundle.format.digest import Digest, digest_bytes
from enginebundle.format.signing import Signature, Signer, parse_public
from enginebundle.storage.home import expand, home
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.reading import SMALL, is_file, read_file

_LOG = logging.getLogger(__name__)
_KEY, _TRUSTED = "key.pem", "trusted"


@dataclass(frozen=True)
class Trust:
    """The public keys whose signatures count: 32 raw bytes each, by id. `where`: the folder that they are from.

    `denied`: why keys and indexes are revoked in the store that was `heard` (`storage.denials`).
    """

    keys: Mapping[Digest, bytes]
    where: Path | None = field(default=None, compare=False)
    denied: Mapping[Digest, str] = field(default_factory=dict, compare=False)
    heard: Digest | None = field(default=None, compare=False)

    @classmethod
    def default(cls) -> Trust:
        """The keys in this machine's `trusted/` folder; none if the folder does not exist."""
        folder = home() / _TRUSTED
        return cls.folder(folder) if os.path.lexists(folder) else cls({}, folder)

    @classmethod
    def folder(cls, path: Path | str) -> Trust:
        """The keys of all `*.pub` files in a folder. StoreError if it is none, or can't be read.

        A file that holds no key is left out, with a warning.
        """
        if not str(path):
            raise StoreError("trust: expected a folder of .pub files, got an empty path")
        folder = expand(str(path))
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".pub"))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoreError(
                f"trust: the folder of .pub files {folder} can't be read: {why}. Check the path"
            ) from error
        keys = {}
        for name in names:
            try:
                key = parse_public((read_file(folder / name, SMALL) or b"").decode(), name)
            except (FormatError, UnicodeDecodeError) as error:
                _LOG.warning("trusted key %s is left out: %s", folder / name, error)
                continue
            keys[digest_bytes(key)] = key
        return cls(keys, folder)

    @classmethod
    def of(cls, *public: bytes) -> Trust:
        """Exactly these raw public keys."""
        return cls({digest_bytes(key): key for key in public})

    def check(self, version: object, index: Digest) -> None:
        """RevokedError if nobody should open this version any more."""
        if index in self.denied:
            raise RevokedError(
                f"{version}, index {index}, is {self.denied[index]}: use another version"
            )

    def verify(self, data: bytes, signature: bytes) -> Digest:
        """The id of the trusted key that signed `data`.

        Raises FormatError (not a signature document), UntrustedError (the key is not trusted, or revoked) or
        IntegrityError (a signature of other bytes).
        """
        found = Signature.from_bytes(signature)
        if found.key in self.denied:
            raise RevokedError(
                f"signed by key {found.key}, which is {self.denied[found.key]}: its signatures count as none. "
                "Whoever publishes must sign it again with another key"
            )
        public = self.keys.get(found.key)
        if public is None:
            raise UntrustedError(
                f"signed by key {found.key}, which is not trusted here. If you trust its owner, "
                f"copy the file {found.key.removeprefix('sha256:')}.pub from the owner's machine "
                f"into {self.where or 'the folder of trusted keys'}"
                f"{'' if self.keys else ', which holds no keys'}"
            )
        found.verify(data, public)
        return found.key


def default_signer() -> Signer:
    """This machine's key, made and trusted on first use. StoreError if other users can read it."""
    folder = home()
    storage = LocalStorage(folder, links=True)
    path = folder / _KEY
    if not is_file(path):
        # create() settles a race between two first publishers: both use the key that won.
        storage.create(_KEY, Signer.generate().to_pem(), mode=0o600)
    data = storage.get(_KEY, SMALL)
    if data is None or os.stat(path).st_mode & 0o077:
        raise StoreError(f"private key {path} is open to other users: run chmod 600 {path}")
    signer = Signer.from_pem(data)
    name = f"{_TRUSTED}/{signer.key_id.removeprefix('sha256:')}.pub"
    storage.create(name, signer.public_line().encode())
    return signer
