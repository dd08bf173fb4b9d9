"""A bundle's table of contents as a frozen value and as canonical JSON, per docs/format.md.

`from_bytes` accepts exactly what `to_bytes` writes. Check the signature of an index before parsing it.
Every Index is consistent: making one checks what must hold across its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.attachments import (
    Attachments,
    attachments_from_json,
    check_attachments,
)
from enginebundle.format.digest import Digest, canonical_json, digest_bytes, is_digest
from enginebundle.format.dims import symbols_of
from enginebundle.format.parse import (
    array,
    check_canonical,
    check_name,
    digest,
    document_of,
    fields,
    flag,
    mapping,
    text,
)
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.format.structure import Tree, leaves, tree_from_json, tree_to_json
from enginebundle.format.variant import Part, Variant

FORMAT = "enginebundle.index/1"
MAX_BYTES = 16 << 20
GOLDENS, DRAWN = "goldens", "drawn"
"""The label of a bundle whose goldens' inputs were drawn at random, since nobody gave any."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Reference inputs and outputs: a safetensors blob with keys `input.<name>` and `output.<name>`."""

    name: str
    blob: Digest

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "blob": self.blob}

    @classmethod
    def from_json(cls, value: Any) -> Golden:
        value = fields(value, "golden", ("name", "blob"))
        return cls(check_name(value["name"], "golden"), digest(value["blob"], "golden"))


@dataclass(frozen=True, slots=True)
class Index:
    """Everything in a bundle. Its identity is the digest of `to_bytes`; it does not hold its version.

    `blobs` lists every blob with its size in bytes. `program` is the Graph.digest of the lowered
    program. `labels` are free text for people. `structure` is how the outputs stood together in the model's
    result; None if they were a dict by name. `between`: its torch graphs also hold at sizes between the
    profiles, each from its smallest min to its largest max. `attachments` are files that the model needs.
    FormatError if the parts do not fit together.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    goldens: tuple[Golden, ...]
    variants: tuple[Variant, ...]
    blobs: tuple[tuple[Digest, int], ...]
    program: Digest
    labels: tuple[tuple[str, str], ...] = ()
    structure: Tree = None
    between: bool = False
    attachments: Attachments = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blobs", tuple(sorted(self.blobs)))
        object.__setattr__(self, "labels", tuple(sorted(self.labels)))
        object.__setattr__(self, "attachments", tuple(sorted(self.attachments)))
        _check_index(self)

    @property
    def digest(self) -> Digest:
        """The bundle's identity."""
        return digest_bytes(self.to_bytes())

    def variant(self, target: Target) -> Variant | None:
        """The variant for exactly this target."""
        return next((v for v in self.variants if v.target == target), None)

    @property
    def drawn(self) -> bool:
        """Whether the goldens' inputs were drawn at random, and not given by the model's user."""
        return dict(self.labels).get(GOLDENS) == DRAWN

    def profile(self, name: str) -> Profile:
        """A profile by name. KeyError if there is none."""
        return {profile.name: profile for profile in self.profiles}[name]

    def to_bytes(self) -> bytes:
        """This index as canonical JSON."""
        told = {} if self.structure is None else {"structure": tree_to_json(self.structure)}
        told |= {"between": True} if self.between else {}
        told |= {"attachments": dict(self.attachments)} if self.attachments else {}
        return canonical_json(
            told
            | {
                "format": FORMAT,
                "name": self.name,
                "inputs": [spec.to_json() for spec in self.inputs],
                "outputs": [spec.to_json() for spec in self.outputs],
                "profiles": [profile.to_json() for profile in self.profiles],
                "goldens": [golden.to_json() for golden in self.goldens],
                "variants": [variant.to_json() for variant in self.variants],
                "blobs": dict(self.blobs),
                "program": self.program,
                "labels": dict(self.labels),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Read an index whose signature has been checked. FormatError on anything unexpected."""
        keys = (
            "name", "inputs", "outputs", "profiles", "goldens", "variants", "blobs", "program",
            "labels",
        )  # fmt: skip
        value = document_of(data, FORMAT, keys, MAX_BYTES, ("structure", "between", "attachments"))
        labels = mapping(value["labels"], "labels")
        index = cls(
            check_name(value["name"], "bundle name"),
            array(value["inputs"], "inputs", TensorSpec.from_json),
            array(value["outputs"], "outputs", TensorSpec.from_json),
            array(value["profiles"], "profiles", Profile.from_json),
            array(value["goldens"], "goldens", Golden.from_json),
            array(value["variants"], "variants", Variant.from_json),
            tuple(mapping(value["blobs"], "blobs").items()),
            digest(value["program"], "program"),
            tuple((name, text(label, "label")) for name, label in labels.items()),
            tree_from_json(value.get("structure")),
            flag(value.get("between", False), "between"),
            attachments_from_json(value.get("attachments", {})),
        )
        check_canonical(index.to_bytes(), data, "index")
        return index


def _check_index(index: Index) -> None:
    """FormatError that names the first thing that does not fit together."""
    _distinct((spec.name for spec in index.inputs), "inputs")
    _distinct((spec.name for spec in index.outputs), "outputs")
    _distinct((profile.name for profile in index.profiles), "profiles")
    _distinct((golden.name for golden in index.goldens), "goldens")
    _distinct((str(variant.target) for variant in index.variants), "variants' targets")
    _distinct((name for name, _ in index.labels), "labels")
    _distinct((blob for blob, _ in index.blobs), "blobs")
    for blob, size in index.blobs:
        if not is_digest(blob) or type(size) is not int or size < 0:
            raise FormatError(f"blobs: expected digest and size in bytes, got {blob!r}: {size!r}")
    symbols = {s for spec in index.inputs for dim in spec.shape for s in symbols_of(dim)}
    for profile in index.profiles:
        if not symbols <= profile.symbols.keys():
            raise FormatError(
                f"profile {profile.name!r}: expected a range for each of {sorted(symbols)}, "
                f"got {sorted(profile.symbols)}"
            )
    _distinct(leaves(index.structure), "structure")
    if unknown := set(leaves(index.structure)) - {spec.name for spec in index.outputs}:
        raise FormatError(f"structure: {sorted(unknown)} are not among the outputs")
    known = {blob for blob, _ in index.blobs}
    _distinct((name for name, _ in index.attachments), "attachments")
    check_attachments(name for name, _ in index.attachments)
    for name, blob in index.attachments:
        _listed(blob, known, f"attachment {name!r}")
    for golden in index.goldens:
        _listed(golden.blob, known, f"golden {golden.name!r}")
    for variant in index.variants:
        _check_variant(index, variant, known)


def _check_variant(index: Index, variant: Variant, known: set[str]) -> None:
    where = f"variant {variant.target}"
    profiles = {profile.name for profile in index.profiles}
    served = [name for part in variant.parts for name in part.profiles]
    _distinct(served, f"{where}: profiles of its parts")
    if not set(served) <= profiles:
        raise FormatError(
            f"{where}: serves the profiles {sorted(served)}, but the bundle has {sorted(profiles)}"
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
        for blob in segment.blobs:
            _listed(blob, known, where)
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


def _listed(blob: Digest, known: set[str], where: str) -> None:
    if blob not in known:
        raise FormatError(f"{where}: its blob {blob} is missing from the list of blobs")


def _distinct(names: Iterable[str], what: str) -> None:
    """FormatError if a name appears twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError(f"{what}: {name!r} comes twice")
        seen.add(name)
