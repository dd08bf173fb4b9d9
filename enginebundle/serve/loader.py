"""From a reference to a Session: find the bundle, verify it, select a variant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from enginebundle.errors import IntegrityError, NoVariantError
from enginebundle.format.reference import Reference, split
from enginebundle.format.spec import Target
from enginebundle.runtimes.operators import functions
from enginebundle.runtimes.plugins import registered
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import is_export, open_export
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.serve.selection import Accepted, Choice, rank
from enginebundle.serve.session import Session
from enginebundle.serve.watch import Origin
from enginebundle.storage.bundles import Version
from enginebundle.storage.store import Store, is_store
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
    allow_stale: bool = False,
    cuda_graphs: bool = True,
) -> Session:
    """Load the best variant of a bundle that may run here.

    Args:
        reference: `STORE/NAME[@VERSION|:ALIAS]`, or an exported folder.
        target: use this variant, whatever the architecture of this machine's GPU.
        allow_pending: also accept variants that nobody has validated.
        trust: whose signatures count.
        operators: what its torch graphs may call besides PyTorch's reviewed operators, by name
            (`mylib::scale`); torch must know them in this process.
        allow_stale: also follow an alias that has expired, or of which this machine has seen a later move.
        cuda_graphs: replay an engine's calls as CUDA graphs, from the second call with the same sizes on.
            A graph has its own copy of inputs and outputs on the GPU; False saves that memory.

    Raises:
        NoVariantError: no variant may run here; the message gives the reason for each.
        NotFoundError, StoreError: the bundle can't be found or read, or torch has no such operator.
        UntrustedError, IntegrityError, FormatError: the bundle or the alias must not be used.
        StaleError: the alias has expired, or is older than what this machine has seen.
    """
    keys = Trust.folder(trust) if isinstance(trust, str | Path) else trust
    bundle = open_bundle(reference, keys, allow_stale=allow_stale)
    wanted = Target.parse(target) if isinstance(target, str) else target
    allowed = functions(operators)

    def open_variant(bundle: Bundle) -> Session:
        selection = select(
            bundle, this_machine(), target=wanted, allow_pending=allow_pending, operators=allowed
        )
        variant = bundle.variant(selection[0].target)
        return Session(bundle, variant, selection, allowed, cuda_graphs, origin)

    def find(alias: str) -> Version:
        name = f"{bundle.version.name}:{alias}"
        return store.resolve(name, store.honour(keys), allow_stale=allow_stale)

    store = bundle.store
    assert isinstance(store, Store)  # which `open_bundle` opens
    origin = Origin(find, lambda version: open_variant(Bundle.open(bundle.store, version, keys)))
    return open_variant(bundle)


def open_bundle(
    reference: str | Path, trust: TrustLike = None, *, allow_stale: bool = False
) -> Bundle:
    """Find a bundle and check its signature, and that of the alias. Raises what `load` raises, except
    NoVariantError.

    A reference to a store is never answered by a folder of the same name inside it.
    """
    keys = Trust.folder(trust) if isinstance(trust, str | Path) else trust
    text = str(reference)
    if "://" in text:
        return _open_in_store(*split(text), keys, allow_stale)
    path = Path(text)
    in_store = is_store(path.parent)
    if not in_store and is_export(path):
        return _same(Bundle.open(*open_export(path), keys), path.name)
    # Without a store there, `split` and the store say what is wrong with the text as it was given.
    where = (str(path.parent), path.name) if in_store else split(text)
    return _open_in_store(*where, keys, allow_stale)


def _open_in_store(uri: str, name: str, trust: Trust | None, allow_stale: bool) -> Bundle:
    store = Store.open(uri)
    trust = store.honour(trust)
    version = store.resolve(name, trust, allow_stale=allow_stale)
    return _same(Bundle.open(store, version, trust), name)


def _same(bundle: Bundle, asked: str) -> Bundle:
    """The bundle, if it has the name, number and digest in the reference that was asked for.

    Without `@` and `:` the name of an exported folder is only a name.
    """
    if "@" not in asked and ":" not in asked:
        return bundle
    wanted, version = Reference.parse(asked), bundle.version
    got = bundle.index.name, version.number, bundle.index.digest
    for what, want, have in zip(
        ("name", "version", "digest"), (wanted.name, wanted.number, wanted.digest), got, strict=True
    ):
        if want not in (None, have):
            raise IntegrityError(f"{asked}: expected the {what} {want}, got {have} of {version}")
    return bundle


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
