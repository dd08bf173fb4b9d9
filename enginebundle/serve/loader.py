"""From a reference to a Session: find the bundle, verify it, select a variant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from enginebundle.errors import NoVariantError
from enginebundle.format.reference import split
from enginebundle.format.spec import Target
from enginebundle.runtimes.operators import functions
from enginebundle.runtimes.plugins import registered
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import is_export, open_export
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.serve.selection import Accepted, Choice, rank
from enginebundle.serve.session import Session
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust

TrustLike = Trust | Path | str | None
"""Keys, a folder of `.pub` files, or None for this machine's trusted keys."""


def load(
    reference: str | Path,
    *,
    target: Target | str | None = None,
    allow_pending: bool = False,
    trust: TrustLike = None,
    operators: Iterable[str] = (),
) -> Session:
    """Load the best variant of a bundle that may run here.

    Args:
        reference: `STORE/NAME[@VERSION|:ALIAS]`, or an exported folder.
        target: use this variant, whatever the architecture of this machine's GPU.
        allow_pending: also accept variants that nobody has validated.
        trust: whose signatures count.
        operators: what its torch graphs may call besides PyTorch's reviewed operators, by name
            (`mylib::scale`); torch must know them in this process.

    Raises:
        NoVariantError: no variant may run here; the message gives the reason for each.
        NotFoundError, StoreError: the bundle can't be found or read, or torch has no such operator.
        UntrustedError, IntegrityError, FormatError: the bundle must not be used.
    """
    bundle = open_bundle(reference, trust)
    wanted = Target.parse(target) if isinstance(target, str) else target
    allowed = functions(operators)
    selection = select(
        bundle, this_machine(), target=wanted, allow_pending=allow_pending, operators=allowed
    )
    return Session(bundle, bundle.variant(selection[0].target), selection, allowed)


def open_bundle(reference: str | Path, trust: TrustLike = None) -> Bundle:
    """Find a bundle and check its signature. Raises what `load` raises, except NoVariantError."""
    keys = Trust.folder(trust) if isinstance(trust, str | Path) else trust
    if is_export(reference):
        return Bundle.open(*open_export(Path(reference)), keys)
    uri, name = split(str(reference))
    store = Store.open(uri)
    return Bundle.open(store, store.resolve(name), keys)


def select(
    bundle: Bundle,
    machine: Machine,
    *,
    target: Target | None = None,
    allow_pending: bool = False,
    operators: Collection[str] = (),
) -> tuple[Choice, ...]:
    """The bundle's variants as `rank` orders them. NoVariantError if it accepts none."""
    plugins = registered(name for variant in bundle.index.variants for name in variant.plugins)
    selection = rank(
        bundle.index.variants, bundle.verdicts, machine,
        allow_pending=allow_pending, target=target, plugins=plugins,
        operators=operators,
    )  # fmt: skip
    if not selection or not isinstance(selection[0], Accepted):
        reasons = "\n  ".join(str(choice) for choice in selection) or "it has no variants"
        raise NoVariantError(f"no variant of {bundle.version} may run here:\n  {reasons}")
    return selection
