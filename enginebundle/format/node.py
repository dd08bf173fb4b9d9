"""One call of an operator as data: its arguments, its results, and where it came from.

An operator of control flow (`higher_order.cond`, ...) takes bodies among its arguments: calls of their
own, which see nothing but what they are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from enginebundle.errors import FormatError
from enginebundle.format.dims import Dim
from enginebundle.format.parse import array, fields, text
from enginebundle.format.spec import DTYPES

T = TypeVar("T")

MAX_DEPTH = 8
"""How deep bodies may stand inside bodies."""

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
class Body:
    """Calls that control flow runs: a branch, a condition, the step of a loop.

    It sees its `inputs` and nothing else; `returns` holds references to its values, and literals.
    """

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    returns: tuple[Argument, ...]

    def __post_init__(self) -> None:
        known = check_calls([value.name for value in self.inputs], self.nodes)
        if missing := {ref.name for ref in refs(self.returns)} - known:
            raise FormatError(f"a body returns values that do not exist: {sorted(missing)}")
        if self.depth > MAX_DEPTH:
            raise FormatError(f"bodies stand more than {MAX_DEPTH} deep inside each other")

    @property
    def depth(self) -> int:
        """1, or more if it has bodies inside."""
        inner = (body.depth for node in self.nodes for body in node.bodies())
        return 1 + max(inner, default=0)

    def without_origins(self) -> Body:
        return replace(self, nodes=tuple(node.without_origins() for node in self.nodes))


Argument = None | bool | int | float | str | Ref | Word | Body | tuple["Argument", ...]
"""One argument of a call. A list is a tuple here."""


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

    def bodies(self) -> tuple[Body, ...]:
        """The bodies among the node's arguments, in order."""
        return tuple(_inside((self.args, tuple(value for _, value in self.kwargs)), Body))

    def without_origins(self) -> Node:
        args = tuple(a.without_origins() if isinstance(a, Body) else a for a in self.args)
        return replace(self, args=args, origin=Origin())


def check_calls(given: list[str], nodes: tuple[Node, ...]) -> set[str]:
    """Every name that calls on these values know at the end. FormatError if one is read too early, or
    names two values."""
    known: set[str] = set()
    for name in given:
        _add(known, name)
    for node in nodes:
        for name in node.inputs():
            if name not in known:
                raise FormatError(f"node {node.name} ({node.op}) reads {name!r} before it exists")
        for value in node.outputs:
            _add(known, value.name)
    return known


def _add(known: set[str], name: str) -> None:
    if name in known:
        raise FormatError(f"two values are named {name!r}")
    known.add(name)


def refs(argument: Argument) -> Iterator[Ref]:
    """Every reference inside an argument."""
    return _inside(argument, Ref)


def _inside(argument: Argument, kind: type[T]) -> Iterator[T]:
    if isinstance(argument, kind):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _inside(item, kind)


def every(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes, each followed by those of the bodies inside it."""
    for node in nodes:
        yield node
        for body in node.bodies():
            yield from every(body.nodes)


def rename(argument: Argument, names: dict[str, str]) -> Argument:
    """The argument with its references renamed by `names`. Names not in `names` are kept."""
    if isinstance(argument, Ref):
        return Ref(names.get(argument.name, argument.name))
    if isinstance(argument, tuple):
        return tuple(rename(item, names) for item in argument)
    return argument


def node_to_json(node: Node, origins: bool) -> dict[str, Any]:
    """The JSON form of a node; `origins`: with where it and the calls in its bodies came from."""
    result: dict[str, Any] = {
        "op": node.op,
        "args": [_to_json(a, origins) for a in node.args],
        "kwargs": {name: _to_json(a, origins) for name, a in node.kwargs},
        "outputs": [_value_to_json(v) for v in node.outputs],
    }
    if origins and node.origin != Origin():
        o = node.origin
        result["origin"] = [o.file, o.line, o.source, o.module, o.module_class]
    return result


def node_from_json(value: Any) -> Node:
    """Read a node. FormatError, KeyError or TypeError if it is none."""
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


def _value_to_json(value: Value) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": list(value.shape)}


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


def _body_to_json(body: Body, origins: bool) -> dict[str, Any]:
    return {
        "inputs": [_value_to_json(v) for v in body.inputs],
        "nodes": [node_to_json(n, origins) for n in body.nodes],
        "returns": [_to_json(a, origins) for a in body.returns],
    }


def _body_from_json(value: Any) -> Body:
    value = fields(value, "body", ("inputs", "nodes", "returns"))
    return Body(
        array(value["inputs"], "body inputs", _value_from_json),
        array(value["nodes"], "body nodes", node_from_json),
        array(value["returns"], "body returns", _from_json),
    )


def _to_json(argument: Argument, origins: bool) -> Any:
    match argument:
        case Body():
            return {"body": _body_to_json(argument, origins)}
        case Ref(name):
            return {"ref": name}
        case Word(kind, value):
            return {kind: value}
        case tuple():
            return [_to_json(item, origins) for item in argument]
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
        if kind == "body":
            return _body_from_json(word)
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
