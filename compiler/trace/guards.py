"""What torch assumed about sizes while it exported, compared with what the profiles promise.

`Dim.AUTO` may fix a size to the example's, tie two sizes together, or guard on a size, and records
this only in the program. `check_dimensions` finds each case and states it in the user's symbols.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from compiler.trace.symbols import Symbols, expression
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.spec import Profile, TensorSpec

_LAYOUT = tuple(
    f" in {function})"
    for function in (
        "is_contiguous", "check_contiguous_sizes_strides", "is_channels_last_contiguous_2d",
        "is_channels_last_contiguous_3d", "is_non_overlapping_and_dense_or_false", "ge",
        "should_swap",
    )
)  # fmt: skip
"""Functions of torch/_prims_common that compare strides."""


@dataclass(frozen=True)
class Complaint:
    """A promise of the profiles that the exported program does not keep."""

    code: str
    message: str
    remedy: str


def user_inputs(
    exported: ExportedProgram, inputs: tuple[TensorSpec, ...]
) -> list[tuple[TensorSpec, Any]]:
    """Each input with its placeholder node, in the order of `inputs`.

    Positional inputs are matched by order, keyword inputs by name, whatever their order in forward.
    """
    nodes = {n.name: n for n in exported.graph.nodes if n.op == "placeholder"}
    holders = [
        nodes[spec.arg.name]
        for spec in exported.graph_signature.input_specs
        if spec.kind == InputKind.USER_INPUT
    ]
    in_spec = exported.call_spec.in_spec
    positional, keyword = in_spec.children()
    names = [spec.name for spec in inputs[: positional.num_leaves]] + list(keyword.context or [])
    by_name = dict(zip(names, holders, strict=True))
    return [(spec, by_name[spec.name]) for spec in inputs]


def input_symbols(exported: ExportedProgram, inputs: tuple[TensorSpec, ...]) -> Symbols:
    """The mapping between torch's symbols and the user's."""
    pairs: list[tuple[Any, Dim]] = []
    for spec, node in user_inputs(exported, inputs):
        pairs.extend(zip(node.meta["val"].shape, spec.shape, strict=True))
    return Symbols(pairs)


def check_dimensions(
    exported: ExportedProgram, inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]
) -> Complaint | None:
    """The first dimension that was fixed or tied, or the first guard that a profile breaks."""
    symbols = input_symbols(exported, inputs)
    points = list(_points(inputs, profiles))
    for spec, node in user_inputs(exported, inputs):
        for axis, (size, dim) in enumerate(zip(node.meta["val"].shape, spec.shape, strict=True)):
            for _, values in points:
                got, want = symbols.value(size, values), dims.evaluate(dim, values)
                if got != want:
                    return _mismatch(spec, axis, size, dim, symbols)
    return _broken_guard(exported, symbols, points)


def _mismatch(spec: TensorSpec, axis: int, size: Any, dim: Dim, symbols: Symbols) -> Complaint:
    place = f"dimension {axis} of input {spec.name!r}"
    if expression(size).is_Integer:
        return Complaint(
            "fixed",
            f"{place} is declared as {dim}, but the model fixes it to the example's {size}",
            f"declare it as a number, or change the code that unrolls over it or compares it "
            f"with a constant (a loop in Python over {dim}, a buffer of one size)",
        )
    return Complaint(
        "tied",
        f"{place} is declared as {dim}, but the model needs it to be {symbols.dim(size)}",
        f"declare it as {symbols.dim(size)}",
    )


def _broken_guard(
    exported: ExportedProgram,
    symbols: Symbols,
    points: list[tuple[str, Mapping[str, int]]],
) -> Complaint | None:
    for expr, place in _guards(exported):
        if not symbols.covers(expr) or _assumes_not_0_or_1(expr) or _asks_for_layout(place):
            continue
        for where, values in points:
            if symbols.value(expr, values) == sympy.false:
                return Complaint(
                    "guard",
                    f"the model holds only where {symbols.value(expr, {})}{place}, which {where} breaks",
                    "narrow the profile to sizes that satisfy it, or change that line",
                )
    return None


def _guards(exported: ExportedProgram) -> Iterator[tuple[Any, str]]:
    for node in exported.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None and mode.shape_env is not None:
            for guard in mode.shape_env.guards:
                location = str(guard.sloc).strip("() ")
                yield guard.expr, f" (from {location})" if location else ""
            return


def _assumes_not_0_or_1(expr: Any) -> bool:
    """Whether a guard only says that some size is not 0 or 1.

    Torch assumes this of every dynamic size to rule out broadcasting; the program is right at such
    sizes too unless it broadcasts there, which the goldens at min would show.
    """
    return isinstance(expr, sympy.Ne) and any(side in (0, 1) for side in expr.args)


def _asks_for_layout(place: str) -> bool:
    """Whether a guard exists because torch asked how a tensor is laid out in memory.

    The answer chooses between a view and a copy, never a value, and a network has no strides.
    """
    return place.startswith(" (from _prims_common/") and place.endswith(_LAYOUT)


def _points(
    inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]
) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Every corner of every profile and its opt; with more than 6 symbols, only min, opt and max."""
    used = {s for spec in inputs for dim in spec.shape for s in dims.symbols_of(dim)}
    for profile in profiles:
        ranges = [(s, bounds) for s, bounds in profile.ranges if s in used]
        names = [s for s, _ in ranges]
        corners = [(b.min, b.max) for _, b in ranges]
        sizes: list[tuple[int, ...]] = [tuple(b.opt for _, b in ranges)]
        sizes += itertools.product(*corners) if len(ranges) <= 6 else zip(*corners, strict=True)
        for point in sizes:
            values = dict(zip(names, point, strict=True))
            said = ", ".join(f"{s}={n}" for s, n in values.items())
            yield f"profile {profile.name!r} at {said or 'its only point'}", values
