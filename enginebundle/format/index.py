"""A bundle's table of contents, and the evidence about it, as frozen values and canonical JSON.

`from_bytes` accepts exactly what `to_bytes` writes: docs/format.md is the specification. Neither
document is to be parsed before its signature has been checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, canonical_json, digest_bytes
from enginebundle.format.parse import array, digest, document_of, number, text, unique
from enginebundle.format.spec import Profile, Target, TensorSpec, Toolchain, check_name, fields

FORMAT = "enginebundle.index/1"
KINDS = ("engine", "torch_graph")
MAX_BYTES = 16 << 20


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
class Tolerance:
    """|got - want| <= atol + rtol * |want|, elementwise; NaN equals NaN."""

    atol: float
    rtol: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(bound) and bound >= 0 for bound in (self.atol, self.rtol)):
            raise FormatError(
                f"tolerance atol {self.atol}, rtol {self.rtol}: expected finite numbers from 0"
            )

    def to_json(self) -> dict[str, float]:
        return {"atol": self.atol, "rtol": self.rtol}

    @classmethod
    def from_json(cls, value: Any) -> Tolerance:
        value = fields(value, "tolerance", ("atol", "rtol"))
        return cls(number(value["atol"], "atol"), number(value["rtol"], "rtol"))


@dataclass(frozen=True, slots=True)
class Segment:
    """What one runtime executes. Inputs and outputs are value names shared between segments.

    engine: `blob` is a serialized engine, `profiles` its optimization profiles in their order.
    torch_graph: `blob` is a Graph as canonical JSON, `weights` its weights as safetensors by name.
    """

    kind: str
    blob: Digest
    weights: Digest | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FormatError(f"segment kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.kind == "engine" and self.weights is not None:
            raise FormatError("segment: an engine holds its weights; expected weights null")

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "blob": self.blob,
            "weights": self.weights,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "profiles": list(self.profiles),
        }

    @classmethod
    def from_json(cls, value: Any) -> Segment:
        keys = ("kind", "blob", "weights", "inputs", "outputs", "profiles")
        value = fields(value, "segment", keys)
        weights = value["weights"]
        return cls(
            text(value["kind"], "segment kind"),
            digest(value["blob"], "segment blob"),
            None if weights is None else digest(weights, "segment weights"),
            array(value["inputs"], "segment inputs", TensorSpec.from_json),
            array(value["outputs"], "segment outputs", TensorSpec.from_json),
            array(value["profiles"], "segment profiles", lambda v: check_name(v, "profile")),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One runnable pipeline for the named profiles. `returns`: the value behind each bundle output."""

    profiles: tuple[str, ...]
    segments: tuple[Segment, ...]
    returns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "profiles": list(self.profiles),
            "segments": [segment.to_json() for segment in self.segments],
            "returns": list(self.returns),
        }

    @classmethod
    def from_json(cls, value: Any) -> Part:
        value = fields(value, "part", ("profiles", "segments", "returns"))
        return cls(
            array(value["profiles"], "part profiles", lambda v: check_name(v, "profile")),
            array(value["segments"], "segments", Segment.from_json),
            array(value["returns"], "returns", lambda v: text(v, "returned value")),
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """What the bundle holds for one Target. `tolerances` are by output name."""

    target: Target
    toolchain: Toolchain
    precision: str
    tolerances: tuple[tuple[str, Tolerance], ...]
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerances", tuple(sorted(self.tolerances, key=lambda t: t[0])))

    def part(self, profile: str) -> Part:
        """The part that serves a profile. KeyError if the variant has none."""
        for part in self.parts:
            if profile in part.profiles:
                return part
        raise KeyError(profile)

    def to_json(self) -> dict[str, Any]:
        return {
            "target": str(self.target),
            "toolchain": self.toolchain.to_json(),
            "precision": self.precision,
            "tolerances": {name: bound.to_json() for name, bound in self.tolerances},
            "parts": [part.to_json() for part in self.parts],
        }

    @classmethod
    def from_json(cls, value: Any) -> Variant:
        keys = ("target", "toolchain", "precision", "tolerances", "parts")
        value = fields(value, "variant", keys)
        if not isinstance(value["tolerances"], dict):
            raise FormatError("variant: tolerances must be an object by output name")
        bounds = value["tolerances"].items()
        return cls(
            Target.parse(text(value["target"], "target")),
            Toolchain.from_json(value["toolchain"]),
            text(value["precision"], "precision"),
            tuple((name, Tolerance.from_json(bound)) for name, bound in bounds),
            array(value["parts"], "parts", Part.from_json),
        )


@dataclass(frozen=True, slots=True)
class Index:
    """Everything in a bundle. Its identity is the digest of `to_bytes`; its version is not inside.

    `blobs` lists every blob with its size in bytes; `program` is the lowered program's Graph.digest;
    `labels` are free text for people.
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

    def __post_init__(self) -> None:
        from enginebundle.format.index_checks import check_index

        object.__setattr__(self, "blobs", tuple(sorted(self.blobs)))
        object.__setattr__(self, "labels", tuple(sorted(self.labels)))
        check_index(self)

    @property
    def digest(self) -> Digest:
        """The bundle's identity."""
        return digest_bytes(self.to_bytes())

    def variant(self, target: Target) -> Variant | None:
        """The variant for exactly this target."""
        return next((v for v in self.variants if v.target == target), None)

    def profile(self, name: str) -> Profile:
        """A profile by name. KeyError if there is none."""
        return {profile.name: profile for profile in self.profiles}[name]

    def to_bytes(self) -> bytes:
        """The one spelling of this index."""
        return canonical_json(
            {
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
        """Read an index whose signature was checked. FormatError on anything unexpected."""
        keys = (
            "name", "inputs", "outputs", "profiles", "goldens", "variants", "blobs", "program",
            "labels",
        )  # fmt: skip
        value = document_of(data, FORMAT, keys, MAX_BYTES)
        labels: Mapping[str, Any] = _object(value["labels"], "labels")
        index = cls(
            check_name(value["name"], "bundle name"),
            array(value["inputs"], "inputs", TensorSpec.from_json),
            array(value["outputs"], "outputs", TensorSpec.from_json),
            array(value["profiles"], "profiles", Profile.from_json),
            array(value["goldens"], "goldens", Golden.from_json),
            array(value["variants"], "variants", Variant.from_json),
            tuple(_object(value["blobs"], "blobs").items()),
            digest(value["program"], "program"),
            tuple((name, text(label, "label")) for name, label in labels.items()),
        )
        unique(index.to_bytes(), data, "index")
        return index


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected an object, got {type(value).__name__}")
    return value
