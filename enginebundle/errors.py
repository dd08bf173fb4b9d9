"""What this package raises. A message gives what was expected, what was found and what to do."""

from __future__ import annotations


class BundleError(Exception):
    """The base of every error that `enginebundle` raises on purpose."""


class FormatError(BundleError):
    """A document is not what docs/format.md specifies."""


class IntegrityError(BundleError):
    """Bytes do not match their digest, or a signature does not match the bytes it came with."""


class UntrustedError(BundleError):
    """A signature is by a key that is not trusted on this machine."""


class RevokedError(UntrustedError):
    """The store's owners revoked a version, or the key that signed something."""


class StaleError(BundleError):
    """An alias or a list of what is revoked is older than what this machine has seen of it, or has expired."""


class NotFoundError(BundleError):
    """The store has no such bundle, version, alias or blob."""


class StoreError(BundleError):
    """The store can't be read or written."""


class NoVariantError(BundleError):
    """No variant of the bundle may run here; the message gives the reason for each."""


class InputError(BundleError):
    """A call's inputs do not fit: a wrong name, dtype or rank, or sizes outside every profile."""


class RuntimeFailure(BundleError):
    """A backend refused to open or run what a segment holds."""


class UnreadableError(FormatError, StoreError):
    """One file is not what a store may hold: a pipe, a device, a link out of the store, too large, locked.

    Whoever can go on without a damaged document can go on without this one.
    """


class ConflictError(StoreError):
    """A compare-and-set found a different value from the one expected."""
