"""What the loader raises. Every message says what was expected, what was found and what to do."""

from __future__ import annotations


class BundleError(Exception):
    """Base of everything `enginebundle` raises on purpose."""


class FormatError(BundleError):
    """A document is not what docs/format.md says it is."""


class IntegrityError(BundleError):
    """Bytes do not match their digest, or a signature does not match its bytes."""


class UntrustedError(BundleError):
    """The signature is right but its key is not trusted on this machine."""


class NotFoundError(BundleError):
    """The store holds no such bundle, version, alias or blob."""


class StoreError(BundleError):
    """The store can't be read or written."""


class NoVariantError(BundleError):
    """No variant of the bundle may run here; the message lists each rejection."""


class InputError(BundleError):
    """A call's inputs do not fit the bundle: name, dtype, rank or outside every profile."""


class RuntimeFailure(BundleError):
    """A backend refused to open or execute an artifact."""


class ConflictError(StoreError):
    """A compare-and-set found another value than the one expected."""
