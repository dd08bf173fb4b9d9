"""What must hold across an index, beyond the shape of its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from enginebundle.errors import FormatError
from enginebundle.format.digest import is_digest
from enginebundle.format.dims import symbols_of

if TYPE_CHECKING:
    from enginebundle.format.index import Index, Part, Variant


def check_index(index: Index) -> None:
    """FormatError, naming the first thing that does not fit together."""
    distinct((spec.name for spec in index.inputs), "inputs")
    distinct((spec.name for spec in index.outputs), "outputs")
    distinct((profile.name for profile in index.profiles), "profiles")
    distinct((golden.name for golden in index.goldens), "goldens")
    distinct((str(variant.target) for variant in index.variants), "variants' targets")
    distinct((name for name, _ in index.labels), "labels")
    distinct((digest for digest, _ in index.blobs), "blobs")
    for digest, size in index.blobs:
        if not is_digest(digest) or type(size) is not int or size < 0:
            raise FormatError(f"blobs: expected digest and size in bytes, got {digest!r}: {size!r}")
    symbols = {s for spec in index.inputs for dim in spec.shape for s in symbols_of(dim)}
    for profile in index.profiles:
        if not symbols <= profile.symbols.keys():
            raise FormatError(
                f"profile {profile.name!r}: expected a range for each of {sorted(symbols)}, "
                f"got {sorted(profile.symbols)}"
            )
    known = {digest for digest, _ in index.blobs}
    for golden in index.goldens:
        _listed(golden.blob, known, f"golden {golden.name!r}")
    for variant in index.variants:
        _check_variant(index, variant, known)


def _check_variant(index: Index, variant: Variant, known: set[str]) -> None:
    where = f"variant {variant.target}"
    profiles = {profile.name for profile in index.profiles}
    served = [name for part in variant.parts for name in part.profiles]
    distinct(served, f"{where}: profiles of its parts")
    if not set(served) <= profiles:
        raise FormatError(
            f"{where}: serves {sorted(served)}, but the bundle has {sorted(profiles)}"
        )
    outputs = {spec.name for spec in index.outputs}
    if {name for name, _ in variant.tolerances} != outputs:
        raise FormatError(
            f"{where}: expected one tolerance for each of the outputs {sorted(outputs)}, "
            f"got {[name for name, _ in variant.tolerances]}"
        )
    for part in variant.parts:
        _check_part(index, part, known, f"{where}, part {'+'.join(part.profiles)}")


def _check_part(index: Index, part: Part, known: set[str], where: str) -> None:
    if not part.profiles:
        raise FormatError(f"{where}: serves no profile")
    values = {spec.name for spec in index.inputs}
    for segment in part.segments:
        _listed(segment.blob, known, where)
        if segment.weights is not None:
            _listed(segment.weights, known, where)
        if segment.kind == "engine" and not set(part.profiles) <= set(segment.profiles):
            raise FormatError(
                f"{where}: its engine has the optimization profiles {list(segment.profiles)}"
            )
        for spec in segment.inputs:
            if spec.name not in values:
                raise FormatError(f"{where}: a segment reads {spec.name!r} before it exists")
        for spec in segment.outputs:
            if spec.name in values:
                raise FormatError(f"{where}: two values are named {spec.name!r}")
            values.add(spec.name)
    if len(part.returns) != len(index.outputs) or not set(part.returns) <= values:
        raise FormatError(
            f"{where}: expected a value for each of {len(index.outputs)} outputs, "
            f"got {list(part.returns)}"
        )


def _listed(digest: str, known: set[str], where: str) -> None:
    if digest not in known:
        raise FormatError(f"{where}: its blob {digest} is missing from the list of blobs")


def distinct(names: Iterable[str], what: str) -> None:
    """FormatError if a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError(f"{what}: {name!r} comes twice")
        seen.add(name)
