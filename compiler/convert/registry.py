"""Which converter writes each ATen overload, and what each one refuses, as data.

A converter is a function `f(net, <the ATen schema's argument names>)`. Its arguments are passed by
name, with the schema's defaults; a schema argument that it does not name must be in IGNORED. Names
are checked when the converter is registered, so a typo fails at import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.convert.schema import bind, parameters
from enginebundle.format.graph import Node, Value

IGNORED = frozenset(
    {"memory_format", "layout", "device", "pin_memory", "generator", "non_blocking", "out",
     "is_coalesced", "enable_gqa", "requires_grad"}
)  # fmt: skip
"""Schema arguments that have no meaning for an inference network."""

FLOATS = frozenset({"float32", "float16", "bfloat16"})
INTEGERS = frozenset({"int32", "int64"})
NUMBERS = FLOATS | INTEGERS
ANY = NUMBERS | {"bool"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node stays in torch: a stable code, what was expected and found, and what would help."""

    code: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Support:
    """What a converter accepts: dtypes of its tensor arguments, and whether sizes may be dynamic."""

    dtypes: frozenset[str] = ANY
    dynamic: bool = True


Check = Callable[..., str | None]
"""Takes some of the arguments by name (tensors as `Value`); returns the reason to refuse, or None."""


@dataclass(frozen=True, slots=True)
class Converter:
    """One row of the registry."""

    op: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    """The arguments that `function` takes after `net`."""
    support: Support
    check: Check | None = None


class Table:
    """The converters of one family: its module fills the table, the library merges it into a Registry."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.rows: dict[str, Converter] = {}

    def converter(
        self,
        *ops: str,
        support: Support = Support(),
        check: Check | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function for the overloads `aten.<name>.<overload>` (or sym.<name>)."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            for op in ops:
                self.row(op, function, support, check)
            return function

        return register

    def row(
        self,
        op: str,
        function: Callable[..., Any],
        support: Support = Support(),
        check: Check | None = None,
    ) -> None:
        """Register one overload; ValueError if names do not match its schema."""
        if op in self.rows:
            raise ValueError(f"{op} has two converters in {self.family}")
        names = parameters(op)
        if names is None:
            return  # this torch has no such overload
        wanted = tuple(inspect.signature(function).parameters)[1:]
        missing = [n for n in names if n not in wanted and n not in IGNORED]
        unknown = [n for n in wanted if n not in names]
        if missing or unknown:
            raise ValueError(
                f"{op}: the converter lacks {missing} and has unknown {unknown}; the schema has {names}"
            )
        if check is not None:
            unknown = [n for n in inspect.signature(check).parameters if n not in names]
            if unknown:
                raise ValueError(f"{op}: the check has unknown {unknown}; the schema has {names}")
        self.rows[op] = Converter(op, function, wanted, support, check)


class Registry:
    """All converters, and the operators that are refused whatever their arguments."""

    def __init__(self, tables: Iterable[Table], stated: Mapping[str, Refusal] = {}) -> None:
        self._rows: dict[str, Converter] = {}
        self._stated = stated
        for table in tables:
            for op, row in table.rows.items():
                if op in self._rows:
                    raise ValueError(f"{op} has two converters; one is in {table.family}")
                self._rows[op] = row

    def overlaid(self, table: Table) -> Registry:
        """A new registry in which the table's rows take precedence over this one's."""
        made = Registry((table,), self._stated)
        made._rows = self._rows | made._rows
        return made

    def ops(self) -> frozenset[str]:
        """Overloads that have a converter: decompositions must leave them alone."""
        return frozenset(self._rows)

    def find(self, node: Node, values: Mapping[str, Value]) -> Converter | Refusal:
        """The node's converter, or why there is none. `values` describes what the node reads."""
        row = self._rows.get(node.op)
        if row is None and node.op in self._stated:
            return self._stated[node.op]
        read = [values[name] for name in node.inputs()]
        if any(v.dtype.startswith("complex") for v in (*read, *node.outputs)):
            return Refusal(
                "complex",
                f"{node.op}: expected real tensors, got complex ones that no rewrite to real tensors covers; "
                "TensorRT has no complex type",
                "use only arithmetic, products, exponentials, views and transforms of up to 2,048 points, "
                "with real inputs and outputs (torch.view_as_real)",
            )  # fmt: skip
        if row is None:
            return Refusal(
                "no_converter", f"no converter for {node.op}",
                "it runs in torch; rewrite it with supported operators, or replace it",
            )  # fmt: skip
        for value in (*read, *node.outputs):
            refused = _unsupported(node.op, value, row.support)
            if refused is not None:
                return refused
        if row.check is not None:
            arguments = bind(node, lambda ref: values[ref.name])
            wanted = inspect.signature(row.check).parameters
            reason = row.check(**{name: arguments[name] for name in wanted})
            if reason is not None:
                return Refusal(
                    "argument", f"{node.op}: {reason}", "change the argument, or leave it in torch"
                )
        return row


def _unsupported(op: str, value: Value, support: Support) -> Refusal | None:
    """Why a converter with this support cannot read or write a value."""
    if value.is_tensor and value.dtype not in support.dtypes and value.dtype != "none":
        return Refusal(
            "dtype", f"{op}: expected {_list(support.dtypes)}, got {value.dtype} ({value.name})",
            "cast to a supported type before this operator",
        )  # fmt: skip
    if len(value.shape) > 8:
        return Refusal(
            "rank", f"{op}: expected at most 8 dimensions, got {len(value.shape)} ({value.name})",
            "reshape to fewer dimensions; TensorRT allows 8",
        )  # fmt: skip
    if value.is_tensor and not support.dynamic and any(isinstance(n, str) for n in value.shape):
        return Refusal(
            "dynamic", f"{op}: expected static sizes, got {value.shape} ({value.name})",
            "fix the dimension in the manifest's inputs",
        )  # fmt: skip
    return None


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
