"""A graph of operator calls as data: what a torch segment stores and what the compiler works on.

The JSON form is a list of calls in execution order. Every value has a unique name. A call's arguments
are JSON literals, references to values, and a few tagged torch words (dtype, device ...). Overload
names are torch's (`aten.add.Tensor`); `sym.*` calls are arithmetic on sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, digest_json
from enginebundle.format.dims import Dim
from enginebundle.format.parse import array, fields, text
from enginebundle.format.spec import DTYPES, TensorSpec

SYM_OPS = (
    "add", "sub", "mul", "floordiv", "mod", "truediv", "neg", "pow", "max", "min", "eq", "ne",
    "lt", "le", "gt", "ge", "not", "and", "or", "int", "float", "ceil", "floor", "sqrt", "ite",
)  # fmt: skip
"""Arithmetic on sizes, called as `sym.<name>`: on host numbers, never on tensors."""

SCALARS = ("symint", "symfloat", "symbool", "none")
"""What stands in place of a dtype for values that are not tensors."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a value by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """A torch constant that JSON lacks: `kind` is dtype, device, layout or memory_format."""

    kind: str
    value: str


Argument = None | bool | int | float | str | Ref | Word | tuple["Argument", ...]
"""One argument of a call. A list is a tuple here."""


@dataclass(frozen=True, slots=True)
class Value:
    """A result of a call. `dtype` is a tensor's, or one of SCALARS, and then `shape` is empty."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] = ()

    @property
    def is_tensor(self) -> bool:
        return self.dtype not in SCALARS


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the user's program a node came from. Never part of equality or of a digest."""

    file: str = ""
    line: int = 0
    source: str = ""
    module: str = ""
    module_class: str = ""
    """The classes of the module and of the modules around it, outermost first, joined by slashes."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file else "unknown source"
        return f"{place} (module {self.module or 'root'}: {self.module_class.rpartition('/')[2] or '?'})"


@dataclass(frozen=True, slots=True)
class Node:
    """One call. `op` is an overload such as `aten.add.Tensor`. Output names are unique in the graph."""

    op: str
    args: tuple[Argument, ...]
    kwargs: tuple[tuple[str, Argument], ...]
    outputs: tuple[Value, ...]
    origin: Origin = field(default=Origin(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """The name of the node's first output, which also names the node."""
        return self.outputs[0].name

    def inputs(self) -> tuple[str, ...]:
        """The names of the values that the node reads, in order, without repeats."""
        found: dict[str, None] = {}
        for argument in (self.args, tuple(value for _, value in self.kwargs)):
            for ref in refs(argument):
                found[ref.name] = None
        return tuple(found)


def refs(argument: Argument) -> Iterator[Ref]:
    """Every reference inside an argument."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from refs(item)


def rename(argument: Argument, names: dict[str, str]) -> Argument:
    """The argument with its references renamed by `names`. Names not in `names` are kept."""
    if isinstance(argument, Ref):
        return Ref(names.get(argument.name, argument.name))
    if isinstance(argument, tuple):
        return tuple(rename(item, names) for item in argument)
    return argument


@dataclass(frozen=True, slots=True)
class Weight:
    """A stored tensor: its spec and the digest of its bytes (C order, little endian)."""

    spec: TensorSpec
    digest: Digest

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs, weights, nodes in execution order, and the outputs that a run returns."""

    inputs: tuple[TensorSpec, ...]
    weights: tuple[Weight, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[TensorSpec, ...]
    returns: tuple[str, ...]
    """The value that each of `outputs` returns. Two outputs may return the same value."""

    def __post_init__(self) -> None:
        known: set[str] = set()
        for name in [t.name for t in self.inputs] + [w.name for w in self.weights]:
            _add(known, name)
        for node in self.nodes:
            for name in node.inputs():
                if name not in known:
                    raise FormatError(
                        f"node {node.name} ({node.op}) reads {name!r} before it exists"
                    )
            for value in node.outputs:
                _add(known, value.name)
        if len(self.outputs) != len(self.returns) or not set(self.returns) <= known:
            raise FormatError("graph returns values that do not exist")

    @property
    def digest(self) -> Digest:
        """The identity of the computation: it covers the weights' content, but not origins."""
        return digest_json(self.to_json(origins=False))

    def to_json(self, origins: bool = True) -> dict[str, Any]:
        return {
            "inputs": [t.to_json() for t in self.inputs],
            "weights": [w.spec.to_json() | {"digest": w.digest} for w in self.weights],
            "nodes": [_node_to_json(n, origins) for n in self.nodes],
            "outputs": [t.to_json() for t in self.outputs],
            "returns": list(self.returns),
        }

    @classmethod
    def from_json(cls, value: Any) -> Graph:
        """Read a graph. FormatError names the first thing that is wrong."""
        value = fields(value, "graph", ("inputs", "weights", "nodes", "outputs", "returns"))
        try:
            weights = tuple(
                Weight(
                    TensorSpec.from_json({k: w[k] for k in ("name", "dtype", "shape")}), w["digest"]
                )
                for w in value["weights"]
            )
            return cls(
                tuple(TensorSpec.from_json(t) for t in value["inputs"]),
                weights,
                tuple(_node_from_json(n) for n in value["nodes"]),
                tuple(TensorSpec.from_json(t) for t in value["outputs"]),
                tuple(value["returns"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"graph: {type(error).__name__} {error}") from error

    def without_origins(self) -> Graph:
        return replace(self, nodes=tuple(replace(n, origin=Origin()) for n in self.nodes))


def _add(known: set[str], name: str) -> None:
    if name in known:
        raise FormatError(f"two values are named {name!r}")
    known.add(name)


def _node_to_json(node: Node, origins: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "op": node.op,
        "args": [_to_json(a) for a in node.args],
        "kwargs": {name: _to_json(a) for name, a in node.kwargs},
        "outputs": [
            {"name": v.name, "dtype": v.dtype, "shape": list(v.shape)} for v in node.outputs
        ],
    }
    if origins and node.origin != Origin():
        o = node.origin
        result["origin"] = [o.file, o.line, o.source, o.module, o.module_class]
    return result


def _node_from_json(value: Any) -> Node:
    value = fields(value, "node", ("op", "args", "kwargs", "outputs"), ("origin",))
    outputs = array(value["outputs"], "outputs", _value_from_json)
    if not outputs:
        raise FormatError(f"node {value['op']!r} has no outputs")
    return Node(
        text(value["op"], "operator"),
        tuple(_from_json(a) for a in value["args"]),
        tuple((k, _from_json(a)) for k, a in value["kwargs"].items()),
        outputs,
        Origin(*value["origin"]) if "origin" in value else Origin(),
    )


def _value_from_json(value: Any) -> Value:
    value = fields(value, "value", ("name", "dtype", "shape"))
    if value["dtype"] in SCALARS:
        if value["shape"] != []:
            raise FormatError(f"value {value['name']!r}: {value['dtype']} has no shape")
        return Value(text(value["name"], "value name"), value["dtype"])
    if value["dtype"] not in DTYPES:
        raise FormatError(f"value {value['name']!r}: unknown dtype {value['dtype']!r}")
    shape = array(value["shape"], "value shape", lambda dim: dim)
    if not all(type(dim) in (int, str) for dim in shape):
        raise FormatError(f"value {value['name']!r}: shape must list numbers and expressions")
    return Value(text(value["name"], "value name"), value["dtype"], shape)


def _to_json(argument: Argument) -> Any:
    match argument:
        case Ref(name):
            return {"ref": name}
        case Word(kind, value):
            return {kind: value}
        case tuple():
            return [_to_json(item) for item in argument]
        case float() if not math.isfinite(argument):
            return {"float": str(argument)}
    return argument


def _from_json(value: Any) -> Argument:
    if isinstance(value, list):
        return tuple(_from_json(item) for item in value)
    if isinstance(value, dict):
        if len(value) != 1:
            raise FormatError(f"argument {value!r}: expected one tag")
        ((kind, word),) = value.items()
        if not isinstance(word, str):
            raise FormatError(f"argument {value!r}: a tag holds text")
        if kind == "ref":
            return Ref(word)
        if kind == "float" and word in ("nan", "inf", "-inf"):
            return float(word)
        if kind in ("dtype", "device", "layout", "memory_format"):
            return Word(kind, word)
        raise FormatError(f"argument {value!r}: unknown tag {kind!r}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FormatError(f"argument of type {type(value).__name__}")
