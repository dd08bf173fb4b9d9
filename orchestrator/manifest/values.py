"""Parses the manifest's notations: sizes, durations, ranges, targets and so on. All raise ValueError."""

from __future__ import annotations

import math
import re
from typing import Any

from compiler.goldens.source import ANY_OUTPUT
from compiler.replace.replacement import KINDS, WAYS, Replacement
from enginebundle.errors import FormatError
from enginebundle.format import dims
from enginebundle.format.parse import check_name
from enginebundle.format.spec import Range, Target, Tolerance
from orchestrator.manifest.errors import nearest

RANGE_KEYS = ("min", "opt", "max")
JETSON = ("sm_87", "sm_110")
"""The architectures of Orin and Thor."""
ENTRYPOINT = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", re.ASCII)
DURATION = re.compile(r"^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?$")
SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$")
_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
}

ARCHS = {
    "torch": ("cpu",),
    "rtx": ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_120", "sm_121"),
    "trt": ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90",
            "sm_100", "sm_103", "sm_110", "sm_120", "sm_121"),
}  # fmt: skip
"""The architectures that each backend builds for. TensorRT-RTX runs on sm_90 unofficially."""


def spell(value: Any) -> str:
    """A value as messages show it: short, and as YAML spells it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict() | list() if len(str(value)) > 60:
            return "a map" if isinstance(value, dict) else "a list"
    return repr(value)


def name(value: Any) -> str:
    """A name for a bundle."""
    try:
        return check_name(value, "name")
    except FormatError as error:
        raise ValueError(str(error)) from error


def entrypoint(value: Any) -> str:
    """`package.module:function`."""
    if not isinstance(value, str) or not ENTRYPOINT.match(value):
        raise ValueError(f"expected package.module:function, got {spell(value)}")
    return value


def dim(value: Any) -> int | str:
    """A size of at least 1, a symbol, or an expression over symbols."""
    if type(value) is int and value >= 1:
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a size of at least 1 or a symbol, got {spell(value)}")
    try:
        dims.check(value)
    except FormatError as error:
        raise ValueError(str(error)) from error
    if not dims.symbols_of(value):
        raise ValueError(f"expected a symbol, got {spell(value)}; write sizes without quotes")
    return value


def size_range(value: Any) -> Range:
    """`[min, opt, max]`, `{min, opt, max}` or one number."""
    if isinstance(value, dict) and set(value) == set(RANGE_KEYS):
        value = [value[key] for key in RANGE_KEYS]
    if type(value) is int:
        value = [value] * 3
    if not isinstance(value, list) or [type(item) for item in value] != [int, int, int]:
        raise ValueError(
            f"expected [min, opt, max], {{min, opt, max}} or one number, got {spell(value)}"
        )
    try:
        return Range(*value)
    except FormatError as error:
        raise ValueError(str(error)) from error


def target(value: Any) -> Target:
    """`backend:arch[+arch...]`, `trt:sm_NN_any` or `trt:ampere_plus`, if the backend supports it."""
    if not isinstance(value, str):
        raise ValueError(f"expected text such as rtx:sm_89, got {spell(value)}")
    backend, _, archs = value.partition(":")
    if backend not in ARCHS:
        known = [f"{b}:{arch}" for b, archs_of in ARCHS.items() for arch in archs_of]
        hint = nearest(value, known) if archs else "; expected BACKEND:ARCH"
        raise ValueError(f"unknown target {value!r}: backends are {', '.join(sorted(ARCHS))}{hint}")
    if value == "trt:ampere_plus":
        return Target.parse(value)
    for arch in archs.removesuffix("_any").split("+"):
        if arch not in ARCHS[backend]:
            close = nearest(arch, ARCHS[backend])
            hint = close if "did you mean" in close else ""
            raise ValueError(
                f"unknown target {value!r}: {backend} builds for {', '.join(ARCHS[backend])}, not {arch!r}{hint}"
            )
    try:
        found = Target.parse(value)
    except FormatError as error:
        raise ValueError(str(error)) from error
    if backend == "trt" and len(found.archs) > 1:
        raise ValueError(
            f"target {value!r}: a TensorRT engine runs on the one architecture that built it; "
            f"list {', '.join('trt:' + arch for arch in found.archs)} instead, or trt:ampere_plus"
        )
    if found.hardware != "exact" and found.archs[0] in JETSON:
        raise ValueError(
            f"target {value!r}: TensorRT builds engines for one kind of Jetson only; "
            f"use trt:{found.archs[0]}"
        )
    return found


def seconds(value: Any) -> float:
    """A positive number of seconds, or a duration such as 90s, 10m, 1h30m."""
    if type(value) in (int, float) and math.isfinite(value) and value > 0:
        return float(value)
    match = DURATION.match(value) if isinstance(value, str) else None
    if match:
        hours, minutes, secs = (int((part or "0").rstrip("hms")) for part in match.groups())
        if total := 3600 * hours + 60 * minutes + secs:
            return float(total)
    raise ValueError(
        f"expected seconds above 0, or a duration such as 90s, 10m, 1h30m, got {spell(value)}"
    )


def size(value: Any) -> int:
    """A positive number of bytes, or a size such as 512MiB, 8GiB, 2GB."""
    if type(value) is int and value > 0:
        return value
    match = SIZE.match(value) if isinstance(value, str) else None
    if match and (total := int(float(match[1]) * _UNITS[match[2]])):
        return total
    raise ValueError(f"expected bytes above 0, or a size such as 512MiB, 8GiB, got {spell(value)}")


def replacement(value: Any) -> Replacement:
    """`{module|operator|function: what to replace, with|converter|plugin: what to use instead}`."""
    kinds, ways = " or ".join(KINDS), " or ".join(WAYS)
    if not isinstance(value, dict):
        raise ValueError(f"expected a map with {kinds} and {ways}, got {spell(value)}")
    for key in value:
        if key not in (*KINDS, *WAYS):
            raise ValueError(f"unknown key {key!r}{nearest(str(key), [*KINDS, *WAYS])}")
    try:
        made = Replacement.from_json(value)
    except FormatError as error:
        raise ValueError(str(error)) from error
    if made.way != "plugin":
        entrypoint(made.by)
    if made.kind == "function":
        entrypoint(made.pattern)
    return made


def tolerances(value: Any) -> tuple[tuple[str, Tolerance], ...]:
    """`{atol, rtol}` for every output, or output name -> {atol, rtol}."""
    if isinstance(value, dict) and value.keys() & {"atol", "rtol"}:
        value = {ANY_OUTPUT: value}
    if not isinstance(value, dict) or not value:
        raise ValueError(
            f"expected {{atol, rtol}} or output name -> {{atol, rtol}}, got {spell(value)}"
        )
    return tuple(sorted((output, _tolerance(one)) for output, one in value.items()))


def _tolerance(value: Any) -> Tolerance:
    if not isinstance(value, dict) or set(value) != {"atol", "rtol"}:
        raise ValueError(f"expected {{atol, rtol}}, got {spell(value)}")
    for key, number in value.items():
        if type(number) not in (int, float) or not 0 <= number < math.inf:
            raise ValueError(f"{key}: expected a number of at least 0, got {spell(number)}")
    return Tolerance(float(value["atol"]), float(value["rtol"]))
