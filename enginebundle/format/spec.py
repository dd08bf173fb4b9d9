"""The values that describe what is built: tensors, profiles, targets, toolchains, tolerances.

All are frozen. `to_json` and `from_json` are inverses; `from_json` raises FormatError on anything
unexpected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.parse import check_name, fields, number

DTYPES: Mapping[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
"""Element types by torch's name, and their sizes in bytes."""

BACKENDS = ("torch", "rtx", "trt")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""How a variant computes. tf32 permits TensorFloat-32 products and changes no element type; under fp32
there are none."""
DEFAULT_PROFILE = "default"
"""The profile of a model for which none was named."""
HARDWARE = ("exact", "same_compute_capability", "ampere_plus")
"""On which GPUs of its architectures a TensorRT engine opens, the narrowest first."""
AMPERE_PLUS = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_103", "sm_120", "sm_121")
"""The architectures of `trt:ampere_plus`. TensorRT has no such engines for Jetson (sm_87, sm_110)."""
_ARCH = re.compile(r"(cpu|sm_[0-9]{2,3}[a-z]?)\Z")
_ANY = "_any"
"""Ends the spelling of `same_compute_capability`: any GPU of that architecture."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor: its element type by torch's name, and its shape of numbers and expressions."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise FormatError(f"tensor {self.name!r}: unknown dtype {self.dtype!r}")
        for dim in self.shape:
            dims.check(dim)

    def sizes(self, symbols: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in numbers, given each symbol's value."""
        return tuple(dims.evaluate(dim, symbols) for dim in self.shape)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Any) -> TensorSpec:
        value = fields(value, "tensor", ("name", "dtype", "shape"))
        shape = value["shape"]
        if not isinstance(shape, list) or not all(type(d) in (int, str) for d in shape):
            raise FormatError(f"tensor {value['name']!r}: shape must list numbers and expressions")
        if not isinstance(value["name"], str) or not isinstance(value["dtype"], str):
            raise FormatError("tensor: name and dtype must be text")
        return cls(value["name"], value["dtype"], tuple(shape))


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """min <= opt <= max, in elements, all at least 0."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.opt <= self.max:
            raise FormatError(
                f"range min {self.min}, opt {self.opt}, max {self.max}: expected 0 <= min <= opt <= max"
            )

    def __contains__(self, size: int) -> bool:
        return self.min <= size <= self.max


@dataclass(frozen=True, slots=True)
class Profile:
    """A name and a range for each symbol, sorted by symbol."""

    name: str
    ranges: tuple[tuple[str, Range], ...]

    def __post_init__(self) -> None:
        check_name(self.name, "profile")
        object.__setattr__(self, "ranges", tuple(sorted(self.ranges)))

    @property
    def symbols(self) -> dict[str, Range]:
        return dict(self.ranges)

    def at(self, point: str) -> dict[str, int]:
        """Each symbol's value at `min`, `opt` or `max`."""
        return {symbol: getattr(bounds, point) for symbol, bounds in self.ranges}

    def to_json(self) -> dict[str, Any]:
        ranges = {symbol: [r.min, r.opt, r.max] for symbol, r in self.ranges}
        return {"name": self.name, "ranges": ranges}

    @classmethod
    def from_json(cls, value: Any) -> Profile:
        value = fields(value, "profile", ("name", "ranges"))
        if not isinstance(value["ranges"], dict):
            raise FormatError("profile: ranges must be an object")
        ranges = []
        for symbol, bounds in value["ranges"].items():
            if not isinstance(bounds, list) or [type(b) for b in bounds] != [int, int, int]:
                raise FormatError(f"profile range of {symbol!r}: expected [min, opt, max]")
            ranges.append((symbol, Range(*bounds)))
        return cls(value["name"], tuple(ranges))


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A backend, and the architectures that a variant must run on: `rtx:sm_89`, `rtx:sm_80+sm_86`.

    `trt:sm_90` is an engine for the kind of GPU that built it, `trt:sm_90_any` one for every GPU of that
    architecture, `trt:ampere_plus` one for every GPU of AMPERE_PLUS: `hardware` says which.
    """

    backend: str
    archs: tuple[str, ...]
    hardware: str = "exact"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise FormatError(
                f"target backend {self.backend!r}: expected one of {', '.join(BACKENDS)}"
            )
        if not self.archs or any(not _ARCH.match(arch) for arch in self.archs):
            raise FormatError(f"target {self}: expected architectures such as cpu or sm_89")
        if tuple(sorted(set(self.archs), key=_arch_order)) != self.archs:
            raise FormatError(f"target {self}: architectures must be distinct and ascending")
        if ("cpu" in self.archs) != (self.backend == "torch"):
            raise FormatError(f"target {self}: the torch backend runs on cpu, the others on sm_NN")
        if self.hardware not in HARDWARE:
            raise FormatError(f"hardware {self.hardware!r}: expected one of {', '.join(HARDWARE)}")
        if self.hardware != "exact" and self.backend != "trt":
            raise FormatError(f"target {self}: only trt has engines for more than the exact GPU")
        if self.hardware == "same_compute_capability" and len(self.archs) != 1:
            raise FormatError(f"target {self}: expected one architecture, such as trt:sm_90_any")
        if self.hardware == "ampere_plus" and self.archs != AMPERE_PLUS:
            raise FormatError(f"target {self}: ampere_plus stands for {'+'.join(AMPERE_PLUS)}")

    def __str__(self) -> str:
        if self.hardware == "ampere_plus":
            return f"{self.backend}:ampere_plus"
        end = _ANY if self.hardware == "same_compute_capability" else ""
        return f"{self.backend}:{'+'.join(self.archs)}{end}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `backend:arch[+arch...]`, `trt:sm_NN_any` or `trt:ampere_plus`. FormatError otherwise."""
        backend, colon, archs = str(text).partition(":")
        if not colon:
            raise FormatError(
                f"target {text!r}: expected BACKEND:ARCH, such as rtx:sm_89 or torch:cpu"
            )
        if archs == "ampere_plus":
            return cls(backend, AMPERE_PLUS, "ampere_plus")
        hardware = "same_compute_capability" if archs.endswith(_ANY) else "exact"
        named = set(archs.removesuffix(_ANY).split("+"))
        return cls(backend, tuple(sorted(named, key=_arch_order)), hardware)


def _arch_order(arch: str) -> tuple[int, str]:
    digits = re.sub(r"\D", "", arch)
    return (int(digits) if digits else 0, arch)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The exact versions of the modules that made a variant, sorted by name."""

    versions: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", tuple(sorted(self.versions)))

    def __getitem__(self, name: str) -> str:
        return dict(self.versions)[name]

    def to_json(self) -> dict[str, str]:
        return dict(self.versions)

    @classmethod
    def from_json(cls, value: Any) -> Toolchain:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise FormatError("toolchain: expected an object of versions")
        return cls(tuple(value.items()))


@dataclass(frozen=True, slots=True)
class Tolerance:
    """|got - want| <= atol + rtol * |want|, elementwise; NaN equals NaN."""

    atol: float
    rtol: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) and number >= 0 for number in (self.atol, self.rtol)):
            raise FormatError(
                f"tolerance atol {self.atol}, rtol {self.rtol}: expected finite numbers of at least 0"
            )

    def to_json(self) -> dict[str, float]:
        return {"atol": self.atol, "rtol": self.rtol}

    @classmethod
    def from_json(cls, value: Any) -> Tolerance:
        value = fields(value, "tolerance", ("atol", "rtol"))
        return cls(number(value["atol"], "atol"), number(value["rtol"], "rtol"))
