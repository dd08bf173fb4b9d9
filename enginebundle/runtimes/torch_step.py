"""One call of a torch graph, ready to run: its operator, its arguments, and what its results have to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.graph import Node, Word
from enginebundle.runtimes import control, sizes
from enginebundle.runtimes.control import OPERATORS, Turns
from enginebundle.runtimes.operators import Operators
from enginebundle.runtimes.torch_checks import CHECKS
from enginebundle.runtimes.torch_direct import direct
from enginebundle.runtimes.torch_ops import ALLOWED, UNINITIALIZED

if TYPE_CHECKING:
    import torch

Size = tuple[int, ...]
Symbols = dict[str, int]


@dataclass(frozen=True, slots=True)
class Slot:
    """The position of a value among the values of a call."""

    index: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a call returns in one place. `kind`: its dtype, the types of a number, or None if nobody reads it."""

    name: str
    slot: int
    kind: Any
    shape: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One call, ready to run. `drop`: the slots that no later step reads."""

    node: Node
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Result, ...]
    drop: tuple[int, ...]

    def call(self, values: Sequence[Any], turns: Turns | None = None) -> Sequence[Any]:
        """Its results, as many as the graph says. RuntimeFailure if it fails, or must not be called so.

        `turns`: what control flow counts its turns with.
        """
        args = [resolve(argument, values) for argument in self.args]
        if self.node.op in OPERATORS:
            args.insert(0, turns)
        kwargs = {name: resolve(argument, values) for name, argument in self.kwargs.items()}
        return self.counted(guarded(lambda *_: self.function(*args, **kwargs), (self,))())

    def counted(self, result: Any) -> Sequence[Any]:
        """What its operator returned, as many as the graph says. RuntimeFailure if there are more or fewer."""
        found: Sequence[Any] = result if isinstance(result, tuple | list) else (result,)
        if len(found) != len(self.results):
            raise self.failed(f"expected {len(self.results)} results, got {len(found)}")
        return found

    def settled(self, result: Any, expected: Sequence[Size | None]) -> Sequence[Any]:
        """`counted` and `hold` in one."""
        found = self.counted(result)
        self.hold(found, expected)
        return found

    def hold(self, found: Sequence[Any], expected: Sequence[Size | None]) -> None:
        """RuntimeFailure unless results have the dtypes of the graph and these sizes; None: any."""
        for place, result in enumerate(self.results):
            kind, size, value = result.kind, expected[place], found[place]
            # The common case first: this runs after every operator.
            if kind is None or (getattr(value, "dtype", None) is kind and value.shape == size):
                continue
            if isinstance(kind, type | tuple):
                if not isinstance(value, kind):
                    raise self.failed(
                        f"{result.name}: expected a number, got {type(value).__name__}"
                    )
                continue
            got = getattr(value, "dtype", type(value).__name__)
            shape = list(getattr(value, "shape", ()))
            if got is not kind or size is not None or len(shape) != len(result.shape):
                want = list(result.shape if size is None else size)
                raise self.failed(f"{result.name}: expected {kind} {want}, got {got} {shape}")

    def failed(self, why: str) -> RuntimeFailure:
        """The error to raise."""
        return RuntimeFailure(f"{self.node.op} ({self.node.name}) failed: {why}")


def guarded(run: Callable[..., Any], steps: Sequence[Step]) -> Callable[..., Any]:
    """`run(*given, at)`, where what an operator raises becomes a RuntimeFailure that names its step.

    `at[0]` is the number of the step that is called; negative while what it returned is looked at.
    """

    def call(*given: Any) -> Any:
        at = [0]
        try:
            return run(*given, at)
        except RuntimeFailure as error:
            if at[0] < 0 or steps[at[0]].node.bodies():
                raise  # it names the call, or the one inside
            raise steps[at[0]].failed(str(error)) from error
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise steps[at[0]].failed(why) from error

    return call


def resolve(argument: Any, values: Sequence[Any]) -> Any:
    """The argument with values in place of slots."""
    if isinstance(argument, Slot):
        return values[argument.index]
    if isinstance(argument, list):
        return [resolve(item, values) for item in argument]
    return argument


def sizes_of(shape: Sequence[Dim], symbols: Mapping[str, int]) -> Size | None:
    """A shape in numbers; None if it depends on a symbol that has no value yet, or divides by zero."""
    try:
        return tuple(dims.evaluate(dim, symbols) for dim in shape)
    except FormatError:
        return None


_WORDS = {
    "ScalarType": "dtype",
    "Layout": "layout",
    "MemoryFormat": "memory_format",
    "Device": "device",
}


def takes_device(node: Node) -> bool:
    """Whether the node's operator takes a device by name, which the node does not give.

    FormatError if the node gives something else than a word where one belongs: torch takes numbers for dtypes, also
    such as mean none, and text for devices.
    """
    import torch

    packet, _, overload = node.op.removeprefix("aten.").rpartition(".")
    operator = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if operator is None or not node.op.startswith("aten."):
        return False
    absent = False
    for place, argument in enumerate(operator._schema.arguments):
        kind = _WORDS.get(str(argument.real_type).removeprefix("Optional[").removesuffix("]"))
        if kind is None:
            continue
        given = node.args[place] if place < len(node.args) else dict(node.kwargs).get(argument.name)
        if given is not None and not (isinstance(given, Word) and given.kind == kind):
            raise FormatError(
                f"node {node.name}: expected a {kind} as {argument.name}, got {given!r}"
            )
        absent |= kind == "device" and given is None and place >= len(node.args)
    return absent


def function_of(node: Node, operators: Operators) -> Callable[..., Any]:
    """What a node calls, with its checks. FormatError if a bundle may not call it, or torch has none.

    `operators` are those that it may call besides the reviewed ones.
    """
    import torch

    if (flow := control.function(node)) is not None:
        return flow
    namespace, _, name = node.op.partition(".")
    if namespace == "sym" and (function := sizes.function(name)) is not None:
        return function
    if (own := operators.get(node.op)) is not None:
        return own
    if node.op not in ALLOWED:
        raise FormatError(
            f"node {node.name}: operator {node.op!r} is not one that a bundle may call "
            "(enginebundle/runtimes/torch_ops.py lists them; load(..., operators=...) allows others by name)"
        )
    packet, _, overload = name.rpartition(".")
    operator = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    if operator is None:
        raise FormatError(f"node {node.name}: torch {torch.__version__} has no {node.op}")
    if node.op == "aten._reshape_alias.default":
        return _reshape_alias
    if node.op in UNINITIALIZED:
        return lambda *args, **kwargs: _zeroed(operator(*args, **kwargs))
    if node.op in CHECKS:
        return _checked(operator, CHECKS[node.op])
    if node.op in _LISTS:
        return _counted(operator, len(node.outputs))
    return direct(node, operator)


_LISTS = frozenset(
    f"aten.{name}" for name in (
        "chunk.default", "split.Tensor", "split_copy.Tensor", "tensor_split.sections", "unbind.int",
        "unbind_copy.int", "unsafe_chunk.default", "unsafe_split.Tensor",
    )
)  # fmt: skip
"""Operators that return as many tensors as an argument says."""


def _reshape_alias(source: torch.Tensor, size: list[int], stride: list[int]) -> torch.Tensor:
    """torch's own does not look whether the source has as much."""
    return source.as_strided(size, stride, source.storage_offset())


def _zeroed(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros in all of its memory, between its elements too."""
    if tensor.is_meta:
        return tensor
    storage: Any = tensor.untyped_storage()
    storage.fill_(0)
    return tensor


def _checked(operator: Any, check: Callable[[Mapping[str, Any]], None]) -> Callable[..., Any]:
    names = [argument.name for argument in operator._schema.arguments]
    defaults = {
        a.name: a.default_value for a in operator._schema.arguments if a.has_default_value()
    }

    def call(*args: Any, **kwargs: Any) -> Any:
        check({**defaults, **dict(zip(names, args, strict=False)), **kwargs})
        return operator(*args, **kwargs)

    return call


def _counted(operator: Any, count: int) -> Callable[..., Any]:
    """Refuses what would return more tensors than are expected, before each of them takes memory."""
    names = [argument.name for argument in operator._schema.arguments]

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = {"dim": 0, **dict(zip(names, args, strict=False)), **kwargs}
        length = bound["self"].shape[bound["dim"]]
        if "sections" in names:
            most = bound["sections"]
        elif "chunks" in names:
            most = min(bound["chunks"], length)
        else:
            size = bound.get("split_size", 1)
            most = len(size) if isinstance(size, list) else -(-length // max(size, 1))
        if most > max(count, 1):
            raise RuntimeFailure(f"expected {count} results, got {most}")
        return operator(*args, **kwargs)

    return call
