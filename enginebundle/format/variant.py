"""What a bundle holds for one target: a Variant, its parts, and the segments they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest
from enginebundle.format.fallback import Fallback
from enginebundle.format.parse import array, check_name, digest, fields, flag, text
from enginebundle.format.spec import Target, TensorSpec, Tolerance, Toolchain

SegmentKind = Literal["engine", "torch_graph"]
"""Who runs a segment: a TensorRT, or torch."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What one runtime executes. Segments pass values to each other by name.

    engine: `blob` is a serialized engine, `profiles` its optimization profiles in order. If `weights`
        is not null, the engine was built without them: it takes each by its name from the safetensors
        blob `weights` or, computed from these, from the safetensors blob `constants`. `plugins` are the
        TensorRT plugins that it calls: `Name@version` or `Name@version@namespace`.
    torch_graph: `blob` is a Graph as canonical JSON, `weights` a safetensors blob with its weights.
    """

    kind: SegmentKind
    blob: Digest
    weights: Digest | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    profiles: tuple[str, ...]
    constants: Digest | None = None
    plugins: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    """What a torch graph calls besides the operators that every bundle may call."""

    def __post_init__(self) -> None:
        _segment_kind(self.kind)
        if self.operators and self.kind != "torch_graph":
            raise FormatError("segment: only a torch graph calls operators")
        if self.constants is not None and (self.kind != "engine" or self.weights is None):
            raise FormatError("segment: only an engine with weights apart has constants")

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """All blobs that it needs."""
        found = (self.blob, self.weights, self.constants)
        return tuple(blob for blob in found if blob is not None)

    def to_json(self) -> dict[str, Any]:
        constants = {} if self.constants is None else {"constants": self.constants}
        return (
            constants
            | {
                "kind": self.kind,
                "blob": self.blob,
                "weights": self.weights,
                "inputs": [spec.to_json() for spec in self.inputs],
                "outputs": [spec.to_json() for spec in self.outputs],
                "profiles": list(self.profiles),
            }
            | ({"plugins": list(self.plugins)} if self.plugins else {})
            | ({"operators": list(self.operators)} if self.operators else {})
        )

    @classmethod
    def from_json(cls, value: Any) -> Segment:
        keys = ("kind", "blob", "weights", "inputs", "outputs", "profiles")
        value = fields(value, "segment", keys, ("constants", "plugins", "operators"))
        weights = value["weights"]
        return cls(
            _segment_kind(text(value["kind"], "segment kind")),
            digest(value["blob"], "segment blob"),
            None if weights is None else digest(weights, "segment weights"),
            array(value["inputs"], "segment inputs", TensorSpec.from_json),
            array(value["outputs"], "segment outputs", TensorSpec.from_json),
            array(value["profiles"], "segment profiles", lambda v: check_name(v, "profile")),
            digest(value["constants"], "segment constants") if "constants" in value else None,
            array(value.get("plugins", []), "segment plugins", lambda v: text(v, "plugin")),
            array(value.get("operators", []), "segment operators", lambda v: text(v, "operator")),
        )


def _segment_kind(name: str) -> SegmentKind:
    kinds: tuple[SegmentKind, ...] = get_args(SegmentKind)
    for kind in kinds:
        if kind == name:
            return kind
    raise FormatError(f"segment kind {name!r}: expected one of {', '.join(kinds)}")


@dataclass(frozen=True, slots=True)
class Part:
    """The segments that serve the named profiles. `returns`: the value of each of the bundle's outputs.

    `fallback` says what runs in torch although the target has engines. Its JSON leaves out None.
    """

    profiles: tuple[str, ...]
    segments: tuple[Segment, ...]
    returns: tuple[str, ...]
    fallback: Fallback | None = None

    def to_json(self) -> dict[str, Any]:
        told = {} if self.fallback is None else {"fallback": self.fallback.to_json()}
        return told | {
            "profiles": list(self.profiles),
            "segments": [segment.to_json() for segment in self.segments],
            "returns": list(self.returns),
        }

    @classmethod
    def from_json(cls, value: Any) -> Part:
        value = fields(value, "part", ("profiles", "segments", "returns"), ("fallback",))
        return cls(
            array(value["profiles"], "part profiles", lambda v: check_name(v, "profile")),
            array(value["segments"], "segments", Segment.from_json),
            array(value["returns"], "returns", lambda v: text(v, "returned value")),
            Fallback.from_json(value["fallback"]) if "fallback" in value else None,
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """What a bundle holds for one target. `tolerances` are by output name.

    `version_compatible`: its engines open with later TensorRT versions too. Its JSON leaves out false.
    """

    target: Target
    toolchain: Toolchain
    precision: str
    tolerances: tuple[tuple[str, Tolerance], ...]
    parts: tuple[Part, ...]
    version_compatible: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerances", tuple(sorted(self.tolerances, key=lambda t: t[0])))
        if self.version_compatible and self.target.backend != "trt":
            raise FormatError(f"variant {self.target}: only trt engines can be version-compatible")

    @property
    def plugins(self) -> tuple[str, ...]:
        """Every TensorRT plugin that its engines call."""
        segments = (segment for part in self.parts for segment in part.segments)
        return tuple(sorted({plugin for segment in segments for plugin in segment.plugins}))

    @property
    def operators(self) -> tuple[str, ...]:
        """Every operator that its torch graphs call and that the loader's user has to allow."""
        segments = (segment for part in self.parts for segment in part.segments)
        return tuple(sorted({operator for segment in segments for operator in segment.operators}))

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
            "tolerances": {name: each.to_json() for name, each in self.tolerances},
            "parts": [part.to_json() for part in self.parts],
            **({"version_compatible": True} if self.version_compatible else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Variant:
        keys = ("target", "toolchain", "precision", "tolerances", "parts")
        value = fields(value, "variant", keys, ("version_compatible",))
        if not isinstance(value["tolerances"], dict):
            raise FormatError("variant: tolerances must be an object by output name")
        return cls(
            Target.parse(text(value["target"], "target")),
            Toolchain.from_json(value["toolchain"]),
            text(value["precision"], "precision"),
            tuple((name, Tolerance.from_json(v)) for name, v in value["tolerances"].items()),
            array(value["parts"], "parts", Part.from_json),
            flag(value.get("version_compatible", False), "version_compatible"),
        )
