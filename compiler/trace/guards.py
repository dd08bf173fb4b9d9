"""What torch assumed about sizes while it exported, compared with what the profiles promise.

`Dim.AUTO` may fix a size to the example's, tie two sizes together, or guard on a size, and records
this only in the program. `check_dimensions` finds each case and states it in the user's symbols.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy import functions as torch_sympy

from compiler.trace.arguments import user_inputs
from compiler.trace.complaint import Complaint
from compiler.trace.everywhere import Undecided, counterexamples, sizes_that_hold
from compiler.trace.symbols import Symbols, expression
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.spec import Profile, TensorSpec

Agrees = Callable[[Mapping[str, int]], bool | None]
"""Whether program and model compute the same at values of some symbols; None if that does not show."""
Elsewhere = Callable[[Any], bool]
"""Whether the program is the model's also at every size that breaks a condition on sizes."""

_TORCH = Path(torch.__file__).parent
_HERE = Path(__file__).parent
"""What composites ask for the model is asked in one of these files."""


def input_symbols(exported: ExportedProgram, inputs: tuple[TensorSpec, ...]) -> Symbols:
    """The mapping between torch's symbols and the user's."""
    pairs: list[tuple[Any, Dim]] = []
    for spec, node in user_inputs(exported, inputs):
        pairs.extend(zip(node.meta["val"].shape, spec.shape, strict=True))
    return Symbols(pairs)


def check_dimensions(
    exported: ExportedProgram,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    agrees: Agrees,
    elsewhere: Elsewhere = lambda condition: False,
) -> Complaint | None:
    """The first dimension that was fixed or tied, or the first guard that some size of a profile breaks.

    `agrees` tells whether the program computes what the model does at some values of the symbols. It
    is asked where a guard alone does not tell. `elsewhere` is asked last, about a branch of the model's own.
    """
    symbols = input_symbols(exported, inputs)
    points = list(_points(inputs, profiles))
    for spec, node in user_inputs(exported, inputs):
        for axis, (size, dim) in enumerate(zip(node.meta["val"].shape, spec.shape, strict=True)):
            for values in points:
                got, want = symbols.value(size, values), dims.evaluate(dim, values)
                if got != want:
                    place = _where_fixed(exported, spec, axis)
                    return _mismatch(spec, axis, size, dim, symbols, place)
    for guard in _guards(exported):
        complaint = _broken(guard, symbols, profiles, agrees, elsewhere)
        if complaint is not None:
            return complaint
    return None


def _mismatch(
    spec: TensorSpec, axis: int, size: Any, dim: Dim, symbols: Symbols, fixed_at: str
) -> Complaint:
    place = f"dimension {axis} of input {spec.name!r}"
    if expression(size).is_Integer:
        return Complaint(
            "fixed",
            f"{place} is declared as {dim}, but the model fixes it to the example's {size}{fixed_at}",
            f"declare it as a number, or change the code that unrolls over it or compares it "
            f"with a constant (a loop in Python over {dim}, a buffer of one size)",
            number=True,
        )
    return Complaint(
        "tied",
        f"{place} is declared as {dim}, but the model needs it to be {symbols.dim(size)}",
        f"declare it as {symbols.dim(size)}",
    )


@dataclass(frozen=True)
class _Guard:
    """A condition over torch's symbols. `place`: ` (from FILE:LINE in FUNCTION)` or nothing.

    `torchs`: the question was torch's own, not the model's.
    """

    condition: Any
    place: str
    torchs: bool


def conditions(exported: ExportedProgram, symbols: Symbols) -> dict[Any, bool]:
    """What torch assumed about sizes, over the user's symbols; and whether both answers may lead to the
    same values."""
    return {symbols.value(g.condition, {}): _may_be_harmless(g) for g in _guards(exported)}


def _shape_env(exported: ExportedProgram) -> Any:
    """What torch noted about sizes; None if the program has no tensor."""
    modes = (getattr(n.meta.get("val"), "fake_mode", None) for n in exported.graph.nodes)
    return next((mode.shape_env for mode in modes if mode is not None and mode.shape_env), None)


def _guards(exported: ExportedProgram) -> Iterator[_Guard]:
    """The guards, over the symbols that are left: torch may have put one for another since."""
    env = _shape_env(exported)
    for guard in env.guards if env is not None else ():
        yield _Guard(env.replace(guard.expr), _place(guard.sloc), _is_torchs(guard.sloc))


def _is_torchs(location: Any) -> bool:
    return _TORCH in _folders(location)


def _folders(location: Any) -> Sequence[Path]:
    """The folders around the file in which torch was asked."""
    return Path(getattr(location.framework_loc, "filename", "")).parents


def _place(location: Any) -> str:
    text = str(location).strip("() ")
    return f" (from {text})" if text else ""


def _where_fixed(exported: ExportedProgram, spec: TensorSpec, axis: int) -> str:
    """Where torch put a number for the symbol of this dimension; nothing where that is in torch or here."""
    env = _shape_env(exported)
    for symbol, location in env.replacements_slocs.items():
        for source in env.var_to_sources.get(symbol, ()):
            name = source.name() if callable(source.name) else source.name
            if f"['{spec.name}']" in name and name.endswith(f".size()[{axis}]"):
                hidden = {_TORCH, _HERE}.intersection(_folders(location))
                return "" if hidden else _place(location)
    return ""


def _broken(
    guard: _Guard, symbols: Symbols, profiles: tuple[Profile, ...], agrees: Agrees,
    elsewhere: Elsewhere,
) -> Complaint | None:  # fmt: skip
    condition = symbols.value(guard.condition, {})
    for profile in profiles:
        try:
            broken = counterexamples(condition, profile)
        except Undecided as undecided:
            return Complaint(
                "guard",
                f"the model holds only where {condition}{guard.place}, which can't be checked for all "
                f"sizes of profile {profile.name!r}: {undecided}",
                "narrow the profile, or change that line",
            )
        if not broken or (_may_be_harmless(guard) and all(agrees(values) for values in broken)):
            continue
        if not guard.torchs and elsewhere(condition):
            return None
        where = ", ".join(f"{name}={size}" for name, size in broken[0].items())
        read = isinstance(condition, sympy.Eq) and any(side.is_Integer for side in condition.args)
        return Complaint(
            "guard",
            f"the model holds only where {condition}{guard.place}, which profile {profile.name!r} "
            f"breaks at {where}{_rest(condition, profile)}",
            "narrow the profile to sizes that satisfy it, split it into one for each branch with a "
            "model of its own, or change that line"
            + (", without int() around what is a whole number already" if read else ""),
            read,
        )
    return None


def _rest(condition: Any, profile: Profile) -> str:
    """Which sizes of the profile do satisfy the condition, if it is on one symbol."""
    names = [str(symbol) for symbol in condition.free_symbols]
    if len(names) != 1:
        return ""
    bounds = profile.symbols[names[0]]
    found = sizes_that_hold(condition, names[0], bounds)
    if not found:
        return ", as at every other size"
    if found[-1] - found[0] + 1 == len(found):
        return f"; it holds for {names[0]} from {found[0]} to {found[-1]}"
    some = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
    return f"; it holds for {names[0]} = {some} ({len(found)} sizes)"


def _may_be_harmless(guard: _Guard) -> bool:
    """Whether both answers may lead to the same values, so that only running both shows it.

    Torch asks whether a size is 0 or 1 to rule out broadcasting, and how tensors lie in memory, to
    choose between a view and a copy.
    """
    expr = guard.condition
    remainders = expr.atoms(torch_sympy.Mod, torch_sympy.PythonMod)
    of_one = isinstance(expr, sympy.Ne) and any(side in (0, 1) for side in expr.args)
    return guard.torchs or (of_one and not remainders)


def _points(
    inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]
) -> Iterator[Mapping[str, int]]:
    """Every corner of every profile and its opt; with more than 6 symbols, only min, opt and max."""
    used = {s for spec in inputs for dim in spec.shape for s in dims.symbols_of(dim)}
    for profile in profiles:
        ranges = [(s, bounds) for s, bounds in profile.ranges if s in used]
        yield {s: bounds.opt for s, bounds in ranges}
        if len(ranges) > 6:
            yield {s: bounds.min for s, bounds in ranges}
            yield {s: bounds.max for s, bounds in ranges}
        else:
            ends = [((s, bounds.min), (s, bounds.max)) for s, bounds in ranges]
            yield from map(dict, itertools.product(*ends))
