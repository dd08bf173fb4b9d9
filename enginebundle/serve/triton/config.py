"""A model's `config.pbtxt` for Triton: tensors, batching from the profiles, who runs it. Pure.

Where a batch can be made of several requests, Triton's shapes are without its dimension. Triton knows no tensor
without dimensions: what has none here, or none but the batch, has one of size 1 there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.dims import Dim, symbols_of
from enginebundle.format.index import Index
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import Segment, Variant

TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8", "int16": "TYPE_INT16",
    "int32": "TYPE_INT32", "int64": "TYPE_INT64", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
"""Triton's name of each dtype that it has."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Rows of several requests may be answered together: `symbol` is the first dimension of every tensor.

    `most`: rows of a batch. `preferred`: those that the profiles are tuned for.
    """

    symbol: str
    most: int
    preferred: tuple[int, ...]


class Word(str):
    """A value that is written without quotes."""

    __slots__ = ()


def batch_symbol(index: Index) -> str | None:
    """The symbol that is the first dimension of every input and output, and no part of another."""
    specs = (*index.inputs, *index.outputs)
    firsts = {spec.shape[0] if spec.shape else None for spec in specs}
    symbol = firsts.pop()
    if firsts or not isinstance(symbol, str) or not symbol.isidentifier():
        return None
    rest = {s for spec in specs for dim in spec.shape[1:] for s in symbols_of(dim)}
    return None if symbol in rest else symbol


def batching(index: Index, symbol: str, merged_elsewhere: bool = False) -> Batching:
    """Batches that some profile contains whatever the other sizes are, so the least of the profiles' maxima.

    `merged_elsewhere`: who runs the model looks at sizes itself, and the largest batch of any profile will do.
    """
    ranges = [profile.symbols[symbol] for profile in index.profiles]
    most = (max if merged_elsewhere else min)(bounds.max for bounds in ranges)
    return Batching(symbol, most, tuple(sorted({b.opt for b in ranges if 1 < b.opt <= most})))


def plan_of(index: Index, variant: Variant) -> Segment | str:
    """The engine that Triton's own TensorRT backend can run as the whole model, or why there is none."""
    if variant.target.backend != "trt":
        return f"{variant.target} holds no TensorRT engines"
    if len(variant.parts) != 1 or len(variant.parts[0].segments) != 1:
        return "it is more than one engine (`engine_profiles: shared` makes one for all profiles)"
    (part,) = variant.parts
    (segment,) = part.segments
    if segment.kind != "engine" or segment.weights is not None or segment.plugins:
        return "its engine needs weights or plugins from elsewhere"
    if variant.version_compatible:
        return "a version-compatible engine needs settings of the whole server"
    if {s.name for s in segment.inputs} != {s.name for s in index.inputs}:
        return "its engine does not read every input"
    if len(set(part.returns)) < len(part.returns) or set(part.returns) != {
        spec.name for spec in segment.outputs
    }:
        return "an output is given twice, or is an input"
    return segment


def plan_config(name: str, segment: Segment, batching: Batching | None) -> str:
    """For Triton's TensorRT backend, under the engine's own names."""
    group = [("count", 1), ("kind", Word("KIND_GPU"))]
    group += [("profile", str(number)) for number in range(len(segment.profiles))]
    return _written(
        [
            ("name", name),
            ("platform", "tensorrt_plan"),
            *_tensors(segment.inputs, segment.outputs, batching, reshaped=True),
            ("instance_group", group),
            *_dynamic(batching),
        ]
    )


def ensemble_config(
    name: str, plan: str, index: Index, variant: Variant, batching: Batching | None
) -> str:
    """For a model that only gives the engine's outputs the bundle's names."""
    returns = variant.parts[0].returns
    step: list[tuple[str, Any]] = [("model_name", plan), ("model_version", -1)]
    step += [("input_map", [("key", s.name), ("value", s.name)]) for s in index.inputs]
    step += [
        ("output_map", [("key", value), ("value", spec.name)])
        for value, spec in zip(returns, index.outputs, strict=True)
    ]
    return _written(
        [
            ("name", name),
            ("platform", "ensemble"),
            *_tensors(index.inputs, index.outputs, batching),
            ("ensemble_scheduling", [("step", step)]),
        ]
    )


def python_config(name: str, index: Index, variant: Variant, batching: Batching | None) -> str:
    """For Triton's Python backend, which runs enginebundle/serve/triton/model.py."""
    kind = "KIND_CPU" if variant.target.backend == "torch" else "KIND_GPU"
    parameters = [("target", str(variant.target)), ("FORCE_CPU_ONLY_INPUT_TENSORS", "no")]
    return _written(
        [
            ("name", name),
            ("backend", "python"),
            *_tensors(index.inputs, index.outputs, batching),
            ("instance_group", [("count", 1), ("kind", Word(kind))]),
            *(
                ("parameters", [("key", key), ("value", [("string_value", value)])])
                for key, value in parameters
            ),
            *_dynamic(batching),
        ]
    )


def _tensors(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batching: Batching | None,
    reshaped: bool = False,
) -> Iterator[tuple[str, Any]]:  # fmt: skip
    yield "max_batch_size", 0 if batching is None else batching.most
    for key, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            if spec.dtype not in TYPES:
                raise FormatError(f"{key} {spec.name!r}: Triton has no type for {spec.dtype}")
            shape = spec.shape if batching is None else spec.shape[1:]
            told: list[tuple[str, Any]] = [
                ("name", spec.name),
                ("data_type", Word(TYPES[spec.dtype])),
            ]
            told += [("dims", size) for size in map(_size, shape or (1,))]
            # The Python model takes and adds this dimension itself.
            told += [("reshape", [])] if reshaped and not shape else []
            yield key, told


def _size(dim: Dim) -> int:
    return dim if isinstance(dim, int) else -1


def _dynamic(batching: Batching | None) -> Iterator[tuple[str, Any]]:
    if batching is not None:
        yield "dynamic_batching", [("preferred_batch_size", n) for n in batching.preferred]


def _written(message: Sequence[tuple[str, Any]]) -> str:
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Sequence[tuple[str, Any]], indent: str = "") -> Iterator[str]:
    """A message in protobuf's text format."""
    for name, value in message:
        if isinstance(value, list):
            yield f"{indent}{name} {{"
            yield from _lines(value, f"{indent}  ")
            yield f"{indent}}}"
        else:
            quoted = isinstance(value, str) and not isinstance(value, Word)
            yield f"{indent}{name}: {_quoted(value) if quoted else value}"


def _quoted(text: str) -> str:
    """With every byte that is not plain as an octal number."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'
