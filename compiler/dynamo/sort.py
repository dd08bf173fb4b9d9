"""Dynamo's placeholders and results sorted into a Region.

region_of(graph_module, growth) -> Region         RegionRefused if it has to run in torch
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from compiler.dynamo.names import (
    at,
    first_place,
    input_name,
    is_weight,
    place_of,
    source,
    weight_name,
)
from compiler.dynamo.region import (
    META,
    Computed,
    Given,
    Literal,
    Region,
    RegionRefused,
    Returned,
    Sized,
)
from compiler.dynamo.sizes import SizesOf
from compiler.trace.names import unused
from enginebundle.format.spec import DTYPES, TensorSpec


def region_of(
    graph_module: torch.fx.GraphModule, growth: int, state: frozenset[int] = frozenset()
) -> Region:
    """Sort one of Dynamo's graphs. RegionRefused says why it has to run in torch.

    `state`: the places of parameters and buffers that the graph writes into, which become inputs.
    """
    holders = [n for n in graph_module.graph.nodes if n.op == "placeholder"]
    _check_state(graph_module)
    sizes = SizesOf(holders, growth)
    return _Sorter(graph_module, holders, sizes, state).region()


def _check_state(graph_module: torch.fx.GraphModule) -> None:
    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            raise RegionRefused(
                "autocast", f"autocast is on for {kind}",
                'turn it off and use options={"precision": "fp16"} or "bf16"',
            )  # fmt: skip


class _Sorter:
    def __init__(
        self, module: torch.fx.GraphModule, holders: list[torch.fx.Node], sizes: SizesOf,
        state: frozenset[int],
    ) -> None:  # fmt: skip
        self.source = module
        self.holders = holders
        self.sizes = sizes
        self.state = state
        self.graph = torch.fx.Graph()
        self.new: dict[torch.fx.Node, Any] = {}
        self.inputs: list[TensorSpec] = []
        self.arguments: list[int] = []
        self.weights: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.attributes: dict[str, Any] = {}
        self.taken: set[str] = set()

    def region(self) -> Region:
        refused = self.sizes.refused()
        if refused is not None:
            raise RegionRefused("sizes", *refused)
        kinds = [
            "tensor" if index in self.state else _kind(node)
            for index, node in enumerate(self.holders)
        ]
        for index, (node, kind) in enumerate(zip(self.holders, kinds, strict=True)):
            if kind == "tensor":
                self._input(index, node)
            elif kind == "size" and self.sizes.is_free(node):
                self._carrier(index, node)
        if not self.inputs:
            raise RegionRefused(
                "empty",
                "the graph has no tensor inputs",
                "nothing to do: it only computes constants",
            )
        for index, (node, kind) in enumerate(zip(self.holders, kinds, strict=True)):
            if kind == "weight":
                self._weight(index, node)
            elif kind == "number":
                name = unused(node.name, self.taken)
                self.numbers[name] = index
                self.new[node] = self.graph.get_attr(name)
            elif kind == "size" and node not in self.new:
                name, axis = self.sizes.seat(node)
                self.new[node] = self._size(self._holder(name), axis)
        for node in self.source.graph.nodes:
            if node.op in ("call_function", "call_method", "get_attr", "call_module"):
                self._call(node)
        returns = self._returns()
        return Region(
            self.graph,
            self.attributes,
            tuple(self.inputs),
            self.sizes.profile(),
            tuple(self.arguments),
            self.weights,
            self.numbers,
            returns,
            first_place(self.source),
        )

    def _input(self, index: int, node: torch.fx.Node) -> None:
        value = node.meta["example_value"]
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in DTYPES or value.layout != torch.strided:
            raise RegionRefused(
                "input", f"input {node.name} is {value.layout} {value.dtype}",
                f"pass dense tensors of {', '.join(DTYPES)}",
            )  # fmt: skip
        name = unused(input_name(node), self.taken)
        self.sizes.seat_at(name, value.shape)
        self.inputs.append(TensorSpec(name, dtype, tuple(self.sizes.dim(n) for n in value.shape)))
        self.arguments.append(index)
        self.new[node] = self.graph.placeholder(name)

    def _carrier(self, index: int, node: torch.fx.Node) -> None:
        """A size that no input has: it is passed as the length of a tensor that is never read."""
        name = unused(f"size_of_{input_name(node)}", self.taken)
        size = node.meta["example_value"]
        self.sizes.seat_at(name, (size,))
        self.inputs.append(TensorSpec(name, "bool", (self.sizes.dim(size),)))
        self.arguments.append(index)
        self.new[node] = self._size(self.graph.placeholder(name), 0)

    def _size(self, holder: Any, axis: int) -> Any:
        return self.graph.call_function(torch.ops.aten.sym_size.int, (holder, axis))

    def _holder(self, name: str) -> Any:
        return next(n for n in self.graph.nodes if n.op == "placeholder" and n.target == name)

    def _weight(self, index: int, node: torch.fx.Node) -> None:
        name = weight_name(node)
        clash = any(n.startswith(f"{name}.") or name.startswith(f"{n}.") for n in self.weights)
        name = unused(node.name if clash or not name else name, self.taken)
        self.weights[name] = index
        self.new[node] = self.graph.get_attr(name)

    def _call(self, node: torch.fx.Node) -> None:
        if node.op in ("get_attr", "call_module"):
            value: Any = self.source
            for part in str(node.target).split("."):
                value = getattr(value, part)
            self.attributes[str(node.target)] = value
        numbers = [n for n in node.all_input_nodes if n in self.holders and _kind(n) == "number"]
        if numbers:
            if (node.op, node.target) != ("call_method", "item"):
                raise RegionRefused(
                    "input", f"the number {source(numbers[0])} is used as a tensor{at(node)}",
                    "pass it as a tensor",
                )  # fmt: skip
            self.new[node] = self.new[numbers[0]]
            return
        made = self.graph.node_copy(node, lambda old: self.new[old])
        made.args = _on_cpu(made.args)
        made.kwargs = _on_cpu(made.kwargs)
        made.meta = {"custom": {META: place_of(node)}}
        self.new[node] = made

    def _returns(self) -> tuple[Returned, ...]:
        (output,) = [n for n in self.source.graph.nodes if n.op == "output"]
        computed: dict[torch.fx.Node, int] = {}
        returns: list[Returned] = []
        storages = {_storage(n): n for n in self.holders if _is_tensor(n)}
        for leaf in output.args[0]:
            if not isinstance(leaf, torch.fx.Node):
                returns.append(Literal(leaf))
            elif leaf in self.holders and _kind(leaf) != "number":
                returns.append(Given(self.holders.index(leaf)))
            elif not _is_tensor(leaf):
                returns.append(self._number(leaf))
            else:
                value = leaf.meta["example_value"]
                if value.requires_grad:
                    raise RegionRefused(
                        "gradients", f"a result needs gradients{at(leaf)}, and engines compute none",
                        "call the model under torch.no_grad() or torch.inference_mode()",
                    )  # fmt: skip
                other = storages.setdefault(_storage(leaf), leaf)
                if other in self.holders and _lies_as(leaf, other):
                    returns.append(Given(self.holders.index(other), apart=True))  # x.add_(1)
                    continue
                if other is not leaf:
                    raise RegionRefused(
                        "alias",
                        f"a result{at(leaf)} shares its memory with "
                        f"{'the input' if other in self.holders else 'the result'} {other.name}",
                        "return a copy of it: .clone()",
                    )
                number = computed.setdefault(leaf, len(computed))
                returns.append(Computed(number, value.device, _order(value)))
        if not computed and not any(n.op.startswith("call") for n in self.source.graph.nodes):
            raise RegionRefused("empty", "the graph returns no tensor", "nothing to do")
        self.graph.output(tuple(self.new[node] for node in computed))
        return tuple(returns)

    def _number(self, leaf: torch.fx.Node) -> Sized | Literal:
        value = leaf.meta.get("example_value")
        if isinstance(value, bool | int | float):
            return Literal(value)
        dim = self.sizes.dim(value) if isinstance(value, torch.SymInt) else None
        if dim is None or not self.sizes.knows(dim):
            raise RegionRefused(
                "sizes", f"a result{at(leaf)} is a {type(value).__name__} {value}",
                "return tensors, or sizes of the inputs",
            )  # fmt: skip
        return Sized(dim)


def _kind(node: torch.fx.Node) -> str:
    value = node.meta.get("example_value")
    if getattr(node.meta.get("grapharg"), "pass_arg_as_tensor", False):
        return "number"  # a user's float, which Dynamo wraps in a tensor and reads with item()
    if isinstance(value, torch.Tensor):
        return "weight" if is_weight(node) else "tensor"
    if isinstance(value, int | torch.SymInt) and not isinstance(value, bool):
        return "size"
    raise RegionRefused(
        "input", f"input {node.name} ({source(node)}) is a {type(value).__name__}",
        "pass tensors and integers to the compiled function",
    )  # fmt: skip


def _is_tensor(node: torch.fx.Node) -> bool:
    return isinstance(node.meta.get("example_value"), torch.Tensor)


def _storage(node: torch.fx.Node) -> int:
    storage: int = node.meta["example_value"].untyped_storage()._cdata
    return storage


def _lies_as(leaf: torch.fx.Node, other: torch.fx.Node) -> bool:
    """Whether a result is all of another tensor, as it lies in memory."""
    one, two = leaf.meta["example_value"], other.meta["example_value"]
    return bool(
        (one.dtype, one.shape, one.stride(), one.storage_offset(), one.is_conj(), one.is_neg())
        == (two.dtype, two.shape, two.stride(), two.storage_offset(), two.is_conj(), two.is_neg())
    )


def _order(value: torch.Tensor) -> tuple[int, ...] | None:
    """Dimensions from outermost to innermost in memory, at the sizes seen first."""
    sizes, strides = _hints(value.shape), _hints(value.stride())
    if any(stride == 0 and size > 1 for size, stride in zip(sizes, strides, strict=True)):
        return None
    order = sorted(range(len(sizes)), key=lambda axis: (-strides[axis], axis))
    moved = [axis for axis in order if sizes[axis] > 1]
    return None if moved == sorted(moved) else tuple(order)


def _hints(numbers: Sequence[Any]) -> list[int]:
    return [n if isinstance(n, int) else int(n.node.hint) for n in numbers]


def _on_cpu(value: Any) -> Any:
    """Arguments with devices replaced: the graph is traced on the CPU, wherever it will run."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if isinstance(value, str) and re.fullmatch(r"cuda(:\d+)?", value):
        return "cpu"
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_on_cpu(item) for item in value)
    if isinstance(value, dict):
        return {name: _on_cpu(item) for name, item in value.items()}
    return value
