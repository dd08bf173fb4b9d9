"""The calls of a traced graph as nodes: of the whole program, or of a body of its control flow."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._higher_order_ops.auto_functionalize import auto_functionalized

from compiler.lower.returning import original
from compiler.refused import Refused
from compiler.trace.names import unused
from compiler.trace.origin import origin_of
from compiler.trace.symbols import Symbols
from enginebundle.format.graph import Argument, Body, Node, Origin, Ref, Value, Word
from enginebundle.format.spec import DTYPES
from enginebundle.runtimes.control import OPERATORS


class CaptureRefused(Refused):
    """The program has no form as a Graph. Codes: `mutation`, `operator`, `argument`, `output`."""


SYM_FUNCTIONS: Mapping[Callable[..., Any], str] = {
    operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.floordiv: "floordiv",
    operator.mod: "mod", operator.truediv: "truediv", operator.neg: "neg", operator.pow: "pow",
    operator.eq: "eq", operator.ne: "ne", operator.lt: "lt", operator.le: "le", operator.gt: "gt",
    operator.ge: "ge", operator.and_: "and", operator.or_: "or", operator.not_: "not",
    torch.sym_max: "max", torch.sym_min: "min", torch.sym_not: "not", torch.sym_int: "int",
    torch.sym_float: "float", torch.sym_ite: "ite", math.trunc: "int", math.ceil: "ceil",
    math.floor: "floor", math.sqrt: "sqrt", torch._sym_sqrt: "sqrt",  # type: ignore[attr-defined]
    round: "round",
}  # fmt: skip
"""Python's and torch's functions on sizes, and their names in enginebundle.format.graph.SYM_OPS."""

_SHIFTS: Mapping[Any, str] = {operator.lshift: "mul", operator.rshift: "floordiv"}
"""By a number of bits: the same as this, with a power of two."""

_WORDS = {
    torch.dtype: "dtype",
    torch.device: "device",
    torch.layout: "layout",
    torch.memory_format: "memory_format",
}


class Calls:
    """Reads calls one by one. Names are its own: `taken` are those that it must not give.

    `root` holds the graphs of bodies; `around` is where the call that has this body came from.
    """

    def __init__(
        self, symbols: Symbols, root: torch.nn.Module, around: Origin | None = None
    ) -> None:
        self.symbols = symbols
        self.root = root
        self.around = around or Origin()
        self.taken: set[str] = set()
        self.counts: dict[str, int] = {}
        self.values: dict[torch.fx.Node, tuple[Value, ...]] = {}
        self.nodes: list[Node] = []

    def read(self, node: torch.fx.Node) -> None:
        if node.target is operator.getitem and isinstance(node.args[0], torch.fx.Node):
            index = node.args[1]
            assert isinstance(index, int)
            found: Any = self.values[node.args[0]][index]
            self.values[node] = found if isinstance(found, tuple) else (found,)
            return
        if node.target is torch.sym_sum:
            self._add_up(node)
            return
        op, schema = self._operator(node)
        if node.target is auto_functionalized:
            self._read_writing(node, op, schema)
            return
        args = tuple(self._argument(node, arg) for arg in node.args)
        if node.target in _SHIFTS and isinstance(args[1], int):
            args = (args[0], 1 << args[1])
        if node.target is round and args[1:] == (None,):
            args = args[:1]
        unset = _none_by_default(schema)
        kwargs = []
        for name, value in sorted(node.kwargs.items()):
            # None where None is the default means nothing, and pin_memory concerns a host
            # allocator, never a value: both would only give equal programs different digests.
            if name != "pin_memory" and not (value is None and name in unset):
                kwargs.append((name, self._argument(node, value)))
        outputs = self._outputs(node, op)
        self.values[node] = outputs
        self.nodes.append(Node(op, args, tuple(kwargs), outputs, self._origin(node)))

    def _read_writing(self, node: torch.fx.Node, op: str, schema: Any) -> None:
        """A call on copies of what the operator writes into: its results, then their new values."""
        unset = _none_by_default(schema)
        kwargs = tuple(
            (name, self._argument(node, value))
            for name, value in sorted(node.kwargs.items())
            if not (value is None and name in unset)
        )
        name = self.numbered(op.split(".")[1])
        made: list[Value] = []
        found: list[Any] = []
        for item in node.meta["val"]:
            group = item if isinstance(item, list | tuple) else [item]
            values = tuple(
                self.value(f"{name}.{len(made) + n}", one) for n, one in enumerate(group)
            )
            made.extend(values)
            found.append(values if isinstance(item, list | tuple) else values[0])
        self.values[node] = tuple(found)
        self.nodes.append(Node(op, (), kwargs, tuple(made), self._origin(node)))

    def _add_up(self, node: torch.fx.Node) -> None:
        """A sum of any number of sizes, two by two."""
        (terms,) = node.args
        total, *rest = (self._argument(node, term) for term in terms)  # type: ignore[union-attr]
        for term in rest:
            value = Value(self.numbered("sym_add"), "symint")
            self.nodes.append(Node("sym.add", (total, term), (), (value,), self._origin(node)))
            total = Ref(value.name)
        self.values[node] = (value,)

    def _operator(self, node: torch.fx.Node) -> tuple[str, Any]:
        writes = node.target is auto_functionalized
        target = original(node.args[0]) if writes else node.target
        if isinstance(target, torch._ops.OpOverload):
            schema = target._schema
            namespace, _, name = schema.name.partition("::")
            return f"{namespace}.{name}.{target._overloadname}", schema
        if target in _SHIFTS and isinstance(node.args[1], int):
            return f"sym.{_SHIFTS[target]}", None
        if callable(target) and target in SYM_FUNCTIONS:
            return f"sym.{SYM_FUNCTIONS[target]}", None
        if f"higher_order.{target}" in OPERATORS:
            return f"higher_order.{target}", None
        raise CaptureRefused(
            "operator",
            f"{target} at {origin_of(node)} is not an operator call",
            "of the higher-order operators, models may call cond, while_loop, scan and associative_scan",
        )

    def _outputs(self, node: torch.fx.Node, op: str) -> tuple[Value, ...]:
        parts = op.split(".")
        name = self.numbered(parts[1] if parts[0] != "sym" else f"sym_{parts[1]}")
        meta = node.meta["val"]
        if isinstance(meta, list | tuple):
            return tuple(self.value(f"{name}.{i}", item) for i, item in enumerate(meta))
        return (self.value(name, meta),)

    def value(self, name: str, meta: Any) -> Value:
        if isinstance(meta, torch.Tensor):
            return Value(
                name, dtype_name(meta.dtype), tuple(self.symbols.dim(n) for n in meta.shape)
            )
        if isinstance(meta, bool | torch.SymBool):
            return Value(name, "symbool")
        if isinstance(meta, int | torch.SymInt):
            return Value(name, "symint")
        if isinstance(meta, float | torch.SymFloat):
            return Value(name, "symfloat")
        return Value(name, "none")

    def _argument(self, node: torch.fx.Node, argument: Any) -> Argument:
        if isinstance(argument, torch.fx.Node):
            if argument.op == "get_attr":
                return self._body(node, getattr(self.root, str(argument.target)))
            return Ref(self.values[argument][0].name)
        if isinstance(argument, list | tuple):
            return tuple(self._argument(node, item) for item in argument)
        if argument is None or isinstance(argument, bool | int | float | str):
            return argument
        if type(argument) in _WORDS:
            return Word(_WORDS[type(argument)], str(argument).removeprefix("torch."))
        raise CaptureRefused(
            "argument",
            f"{node.target} at {origin_of(node)} takes a {type(argument).__name__}; "
            "expected numbers, text, dtypes and tensors",
            "keep complex scalars and other Python objects out of operator calls",
        )

    def _origin(self, node: torch.fx.Node) -> Origin:
        found = origin_of(node)
        return found if found.file or not self.around.file else self.around

    def _body(self, node: torch.fx.Node, module: Any) -> Body:
        """The graph of a branch or a step, whose calls see only the body's inputs."""
        if not isinstance(module, torch.fx.GraphModule):
            raise CaptureRefused(
                "operator",
                f"{node.target} at {self._origin(node)} reads a {type(module).__name__}; expected a graph",
                "pass tensors that a branch or a step needs as its operands",
            )
        inner = Calls(self.symbols, module, self._origin(node))
        inputs = []
        returns: Any = ()
        for one in module.graph.nodes:
            if one.op == "placeholder":
                value = inner.value(inner.numbered("input"), one.meta["val"])
                inner.values[one] = (value,)
                inputs.append(value)
            elif one.op == "call_function":
                inner.read(one)
            elif one.op == "output":
                (returns,) = one.args
        leaves = returns if isinstance(returns, list | tuple) else (returns,)
        values = tuple(inner._argument(node, leaf) for leaf in leaves)
        return Body(tuple(inputs), tuple(inner.nodes), values)

    def numbered(self, base: str) -> str:
        """`add_1`, `add_2`: an engine output named just `add` can clash with a tensor that TensorRT's
        compiler creates under that name, and then the build fails."""
        self.counts[base] = self.counts.get(base, 0) + 1
        return unused(f"{base}_{self.counts[base]}", self.taken)


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a torch dtype; CaptureRefused for one that bundles lack."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise CaptureRefused(
            "argument", f"dtype {name} has no form in a bundle", f"use one of {', '.join(DTYPES)}"
        )
    return name


def _none_by_default(schema: Any) -> set[str]:
    arguments = schema.arguments if schema else ()
    return {a.name for a in arguments if a.has_default_value() and a.default_value is None}
