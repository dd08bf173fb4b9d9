"""This machine's signing key, and the public keys it trusts.

Files live in $ENGINEBUNDLE_HOME, else ~/.config/enginebundle:

    key.pem               this machine's private key (PKCS8), mode 0600, made on first use
    keys/*.pem            further private keys, which sign beside it: while one takes another's place
    trusted/<id>.pub      one trusted public key per file: `ed25519 BASE64 [comment]`, and what it may sign
    seen/                 the newest evidence that this machine has seen (enginebundle.storage.seen)

To trust another machine's bundles, copy its `trusted/<id>.pub` into this machine's `trusted/`. Lines below the
key limit it (enginebundle.format.role); where several files hold one key, it may do what all of them allow.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    RevokedError,
    StoreError,
    UntrustedError,
)
from enginebundle.format.digest import Digest, digest_bytes
from enginebundle.format.role import Limit
from enginebundle.format.signing import Signature, Signer, parse_public, signatures
from enginebundle.storage.home import expand, home
from enginebundle.storage.local import LocalStorage
from enginebundle.storage.reading import SMALL, is_file, read_file

_LOG = logging.getLogger(__name__)
_KEY, _KEYS, _TRUSTED = "key.pem", "keys", "trusted"


@dataclass(frozen=True)
class Trust:
    """The public keys whose signatures count: 32 raw bytes each, by id. `where`: the folder that they are from.

    `limits`: what keys may sign, all of them together; a key without one may sign everything.
    `denied`: why keys and indexes are revoked in the store that was `heard` (`storage.denials`).
    """

    keys: Mapping[Digest, bytes]
    where: Path | None = field(default=None, compare=False)
    denied: Mapping[Digest, str] = field(default_factory=dict, compare=False)
    heard: Digest | None = field(default=None, compare=False)
    limits: Mapping[Digest, tuple[Limit, ...]] = field(default_factory=dict)

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
        keys: dict[Digest, bytes] = {}
        limits: dict[Digest, tuple[Limit, ...]] = {}
        for name in names:
            try:
                text = (read_file(folder / name, SMALL) or b"").decode()
                line, _, below = text.lstrip().partition("\n")
                key, limit = parse_public(line, name), Limit.parse(below, name)
            except (FormatError, UnicodeDecodeError) as error:
                _LOG.warning("trusted key %s is left out: %s", folder / name, error)
                continue
            keys[digest_bytes(key)] = key
            if limit != Limit():
                limits[digest_bytes(key)] = (*limits.get(digest_bytes(key), ()), limit)
        return cls(keys, folder, limits=limits)

    @classmethod
    def of(cls, *public: bytes) -> Trust:
        """Exactly these raw public keys."""
        return cls({digest_bytes(key): key for key in public})

    def adding(self, keys: Mapping[Digest, bytes]) -> Trust:
        """The same with more keys. No store has been asked yet what of that is revoked."""
        return replace(self, keys={**self.keys, **keys}, denied={}, heard=None)

    def allowed(self, role: str, name: str = "") -> Mapping[Digest, bytes]:
        """The keys that may sign documents of a role about the bundle of a name."""
        return {
            key: public for key, public in self.keys.items()
            if all(limit.allows(role, name) for limit in self.limits.get(key, ()))
        }  # fmt: skip

    def check_signer(self, signer: Signer, role: str, name: str = "") -> None:
        """RevokedError or UntrustedError if what a signer signs in a role would not count here."""
        if signer.keys.keys() & self.allowed(role, name).keys() - self.denied.keys():
            return
        key = signer.key_id
        what = f"key {key} can't sign {role}{f' of {name}' if name else ''}"
        if key in self.denied:
            raise RevokedError(f"{what}: it is {self.denied[key]}")
        raise UntrustedError(f"{what}: here it may sign {self._may(key)}")

    def check(self, version: object, index: Digest) -> None:
        """RevokedError if nobody should open this version any more."""
        if index in self.denied:
            raise RevokedError(
                f"{version}, index {index}, is {self.denied[index]}: use another version"
            )

    def verify(
        self, data: bytes, signature: bytes, role: str, name: str = ""
    ) -> tuple[Digest, ...]:
        """The ids of the trusted keys that signed `data` and may do so in this role for this name: at least one.

        Signatures beside a good one say nothing. Raises FormatError (not a signature document), UntrustedError
        (the key is not trusted, revoked, or may not sign this) or IntegrityError (a signature of other bytes).
        """
        good, errors = [], []
        for found in signatures(signature):
            try:
                self._check(found, data, role, name)
                good.append(found.key)
            except (UntrustedError, IntegrityError) as error:
                errors.append(error)
        if not good:
            raise type(errors[0])("; ".join(map(str, errors)))
        return tuple(good)

    def _check(self, found: Signature, data: bytes, role: str, name: str) -> None:
        if error := self._why_not(found.key, role, name):
            raise error
        found.verify(data, self.keys[found.key])

    def _why_not(self, key: Digest, role: str, name: str) -> BundleError | None:
        """Why signatures by a key don't count; None if they do."""
        if key in self.denied:
            return RevokedError(
                f"signed by key {key}, which is {self.denied[key]}: its signatures count as none. "
                "Whoever publishes must sign it again with another key"
            )
        if key not in self.keys:
            return UntrustedError(
                f"signed by key {key}, which is not trusted here. If you trust its owner, "
                f"copy the file {key.removeprefix('sha256:')}.pub from the owner's machine "
                f"into {self.where or 'the folder of trusted keys'}"
                f"{'' if self.keys else ', which holds no keys'}"
            )
        if key not in self.allowed(role, name):
            return UntrustedError(
                f"signed by key {key}, which may sign {self._may(key)} here, and not {role}"
                f"{f' of {name}' if name else ''}: its .pub file in {self.where or 'the trusted folder'} says so"
            )
        return None

    def _may(self, key: Digest) -> str:
        return " and ".join(f"only {limit}" for limit in self.limits.get(key, ())) or "nothing"


def default_signer() -> Signer:
    """This machine's key, made and trusted on first use, and those beside it. StoreError if others can read one."""
    folder = home()
    storage = LocalStorage(folder, links=True)
    if not is_file(folder / _KEY):
        # create() settles a race between two first publishers: both use the key that won.
        storage.create(_KEY, Signer.generate().to_pem(), mode=0o600)
    further = [f"{_KEYS}/{name}" for name in storage.children(_KEYS) if name.endswith(".pem")]
    first, *beside = (_private(storage, path) for path in (_KEY, *further))
    others = {one.key_id: one for one in beside if one.key_id != first.key_id}
    signer = replace(first, beside=tuple(others.values()))
    for one in signer.each:
        storage.create(_public(one.key_id), one.public_line().encode())
    return signer


def admit(file: Path, limit: Limit) -> Path:
    """Trust the key in a `.pub` file on this machine, within a limit. Returns the file that says so.

    What was said of it under its id is replaced; files of other names with the same key still count.
    """
    try:
        line = (read_file(file, SMALL) or b"").decode().lstrip().partition("\n")[0].rstrip()
    except UnicodeDecodeError as error:
        raise FormatError(f"{file}: expected a public key: {error}") from error
    key = digest_bytes(parse_public(line, str(file)))
    LocalStorage(home(), links=True).put(_public(key), f"{line}\n{limit.lines()}".encode())
    return home() / _public(key)


def _public(key: Digest) -> str:
    return f"{_TRUSTED}/{key.removeprefix('sha256:')}.pub"


def _private(storage: LocalStorage, path: str) -> Signer:
    data, place = storage.get(path, SMALL), storage.root / path
    if data is None or os.stat(place).st_mode & 0o077:
        raise StoreError(f"private key {place} is open to other users: run chmod 600 {place}")
    return Signer.from_pem(data)
