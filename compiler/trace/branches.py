"""Does a program also hold where a condition on sizes is broken, on which the model branches?

Code that pads to a multiple often cuts the result only `if pad > 0`. Traced where it pads, the program cuts always, and
where nothing was padded, nothing is cut: both branches are one program. To show that, the model is exported
again at a size that breaks the condition. If the two programs make the same calls of the same values at every
such size, but for calls that change nothing there, the first one is right there, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind

from compiler.refused import first_lines
from compiler.trace.arguments import user_inputs
from compiler.trace.everywhere import Undecided, counterexamples, evaluate, sizes_that_hold
from compiler.trace.guards import Agrees, conditions, input_symbols
from compiler.trace.symbols import Symbols, expression, parsed
from enginebundle.format.spec import Profile, TensorSpec

LOG = logging.getLogger(__name__)

Sizes = Mapping[str, Any]
"""Values of the user's symbols, side by side in arrays."""

MOST = 4096
"""Sizes that break a condition, compared at once."""
DRAWN = 4
"""Values of the other symbols that each of them is compared with."""
_SAME = frozenset((
    "alias", "clone", "contiguous", "constant_pad_nd", "detach", "expand", "narrow", "pad", "reshape", "slice",
    "view", "_unsafe_view",
))  # fmt: skip
"""Operators that give their input back if neither a size nor the dtype changes."""


class _UnlikeError(Exception):
    """Something that has no place in a comparison."""


def holds_elsewhere(
    condition: Any,
    exported: ExportedProgram,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    export: Callable[[Mapping[str, int]], ExportedProgram],
    agrees: Agrees,
) -> bool:
    """Whether `exported` is the model's program at every size of the profiles that breaks the condition, too.

    `export` exports the model at given values of some symbols; `agrees` is check_dimensions'.
    """
    try:
        sizes = _broken(condition, profiles)
        (symbol,) = map(str, condition.free_symbols)
        one = int(sizes[symbol][len(sizes[symbol]) // 2])
        other = export({symbol: one})
        symbols = input_symbols(other, inputs)
        for spec, node in user_inputs(other, inputs):
            for size, dim in zip(node.meta["val"].shape, spec.shape, strict=True):
                if np.any(evaluate(symbols.value(size, {}), sizes) != evaluate(parsed(dim), sizes)):
                    return False  # it was fixed
        mine = input_symbols(exported, inputs)
        known = conditions(exported, mine)
        for its, harmless in conditions(other, symbols).items():
            for profile in profiles if its not in known else ():
                broken = counterexamples(sympy.Or(condition, its), profile)
                if broken and not (harmless and all(agrees(values) for values in broken)):
                    return False
        return _same_calls((exported, mine), (other, symbols), sizes)
    except (_UnlikeError, Undecided):
        return False
    except Exception as error:  # noqa: BLE001  export and the user's forward may raise anything
        LOG.info("no program for the other branch of %s: %s", condition, first_lines(error))
        return False


def _broken(condition: Any, profiles: tuple[Profile, ...]) -> Sizes:
    """Every size that breaks a condition on one symbol, beside drawn values of the others.

    _UnlikeError if there are too many, or more symbols than one."""
    names = [str(symbol) for symbol in condition.free_symbols]
    if len(names) != 1:
        raise _UnlikeError
    drawn = np.random.default_rng(0)
    found: dict[str, list[Any]] = {symbol: [] for symbol in profiles[0].symbols}
    for profile in profiles:
        bounds = profile.symbols[names[0]]
        if bounds.max - bounds.min >= 1 << 20:
            raise _UnlikeError
        everything = np.arange(bounds.min, bounds.max + 1)
        broken = np.setdiff1d(everything, sizes_that_hold(condition, names[0], bounds))
        if len(broken) > MOST:
            raise _UnlikeError
        for symbol, its in profile.ranges:
            values = np.repeat(broken, DRAWN)
            if symbol != names[0]:
                values = drawn.integers(its.min, its.max, len(values), endpoint=True)
            found.setdefault(symbol, []).append(values)
    return {symbol: np.concatenate(values) for symbol, values in found.items() if values}


def _same_calls(
    one: tuple[ExportedProgram, Symbols], other: tuple[ExportedProgram, Symbols], sizes: Sizes
) -> bool:
    """Whether two programs of one model give their outputs by the same calls at all these sizes."""
    table: dict[Any, int] = {}
    return _outputs(*one, sizes, table) == _outputs(*other, sizes, table)


def _outputs(
    exported: ExportedProgram, symbols: Symbols, sizes: Sizes, table: dict[Any, int]
) -> list[Any]:
    """A number for each output: of what it is computed by. Equal things have equal numbers in `table`."""
    read = _Reader(symbols, sizes, table)
    signature = exported.graph_signature
    for spec in signature.input_specs:
        if isinstance(spec.arg, ConstantArgument):
            raise _UnlikeError
        what: Any = (spec.kind.name, spec.target or spec.arg.name)
        if spec.kind is InputKind.CONSTANT_TENSOR:
            value = exported.constants[str(spec.target)]
            what = (str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes())
        read.named[spec.arg.name] = what
    for node in exported.graph.nodes:
        if node.op == "output":
            outputs: list[Any] = torch.fx.map_arg(node.args[0], read.of)
            return [[o.kind.name for o in signature.output_specs], *outputs]
        read.add(node)
    raise _UnlikeError


class _Reader:
    def __init__(self, symbols: Symbols, sizes: Sizes, table: dict[Any, int]) -> None:
        self.symbols, self.sizes, self.table = symbols, sizes, table
        self.named: dict[str, Any] = {}
        self.numbers: dict[torch.fx.Node, Any] = {}
        self.known: dict[Any, int] = {}

    def of(self, node: torch.fx.Node) -> Any:
        return _Number(self.numbers[node])

    def add(self, node: torch.fx.Node) -> None:
        value = node.meta.get("val")
        if node.op == "placeholder":
            self.numbers[node] = self._number(("input", self.named[node.name]))
        elif isinstance(value, int | float | torch.SymInt | torch.SymFloat | torch.SymBool):
            self.numbers[node] = ("size", self._size(value))
        elif node.op != "call_function":
            raise _UnlikeError
        elif self._changes_nothing(node):
            self.numbers[node] = self.numbers[node.args[0]]  # type: ignore[index]
        else:
            arguments = torch.fx.map_arg((node.args, node.kwargs), self.of)
            self.numbers[node] = self._number((str(node.target), repr(arguments)))

    def _number(self, what: Any) -> int:
        return self.table.setdefault(what, len(self.table))

    def _size(self, size: Any) -> int:
        """A number for its values, at all sizes."""
        torchs = sympy.sympify(size) if isinstance(size, int | float) else expression(size)
        if torchs not in self.known:
            expr = self.symbols.value(torchs, {})
            if not {str(symbol) for symbol in expr.free_symbols} <= self.sizes.keys():
                raise _UnlikeError
            values = np.broadcast_to(
                evaluate(expr, self.sizes), (len(next(iter(self.sizes.values()))),)
            )
            self.known[torchs] = self._number(np.asarray(values, np.float64).tobytes())
        return self.known[torchs]

    def _changes_nothing(self, node: torch.fx.Node) -> bool:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload):
            return False
        name = target._schema.name.partition("::")[2]
        source = node.args[0] if node.args else None
        if name not in _SAME or not isinstance(source, torch.fx.Node):
            return False
        old, new = source.meta["val"], node.meta["val"]
        if old.dtype != new.dtype or len(old.shape) != len(new.shape):
            return False
        if name == "slice" and len(node.args) > 4 and node.args[4] != 1:
            return False
        if name in ("constant_pad_nd", "pad"):
            pads = [p.meta["val"] if isinstance(p, torch.fx.Node) else p for p in node.args[1]]  # type: ignore[union-attr]
            return all(self._size(pad) == self._size(0) for pad in pads)
        return all(
            self._size(a) == self._size(b) for a, b in zip(old.shape, new.shape, strict=True)
        )


class _Number:
    """Prints as what it stands for, so that arguments that hold it have a text."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<{self.number!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)
