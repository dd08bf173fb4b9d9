"""Numbers that forward reads from tensors, where weights and sizes alone decide them: `int(self.k)`,
`self.grid[0].tolist()`, `torch.div(x.shape[1], 8, rounding_mode="trunc")`.

    folded(model)           a context, around torch.export

Weights do not change between calls, so such a number is part of the program, and one from sizes is a size.
torch.export sees only that it leaves a tensor, and makes an unknown of it, or refuses. The graph that is
being traced tells how the tensor came about: where every path leads back to parameters and buffers, that part
is computed on the real ones; where it leads to sizes as well, compiler/trace/ratios.py computes with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import (
    ProxyTorchDispatchMode,
    get_proxy_mode,
    get_proxy_slot,
)
from torch.utils._python_dispatch import _disable_current_modes

from compiler.trace.ratios import number

Values = dict[Node, Any]

_READS = (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)
_DETACH = torch.ops.aten.detach_.default
"""Part of `torch.tensor`: its schema says that it writes, but no number changes."""


@dataclass
class _Weights:
    """A module's own tensors, and, once forward has begun, the nodes that stand for them."""

    real: dict[str, torch.Tensor]
    nodes: Values = field(default_factory=dict)

    def begin(self, model: torch.nn.Module, _: object) -> None:
        mode = get_proxy_mode()
        for name, tensor in _tensors(model).items():
            if mode is not None and name in self.real and (node := _node(mode, tensor)):
                self.nodes[node] = self.real[name]


@contextmanager
def folded(model: torch.nn.Module) -> Iterator[None]:
    """While open, tracing reads real numbers from tensors that follow from `model`'s weights and from sizes."""
    weights = _Weights(_tensors(model))
    hook = model.register_forward_pre_hook(weights.begin)
    own = ProxyTorchDispatchMode.__torch_dispatch__

    def dispatch(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READS and (node := _node(mode, args[0])) is not None:
            found = _value(node, weights.nodes | _attributes(node.graph, mode.tracer.root))
            if found is not None:
                return found
        return own(mode, func, types, args, kwargs)

    ProxyTorchDispatchMode.__torch_dispatch__ = dispatch  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ProxyTorchDispatchMode.__torch_dispatch__ = own  # type: ignore[method-assign]
        hook.remove()


def _value(node: Node, known: Values) -> Any:
    """The number in a tensor of one element, or None if an input, a random number or a write has a part
    in it. May be symbolic."""
    behind = _behind(node)
    if not _unwritten(behind):
        return None
    found = dict(known)
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
        for one in node.graph.nodes:
            if one in behind and one not in found and _follows(one, found):
                args, kwargs = torch.fx.map_arg((one.args, one.kwargs), found.__getitem__)
                found[one] = one.target(*args, **kwargs)
        single = {n: t for n, t in found.items() if n in behind and _has_one_element(t)}
        numbers = {one: tensor.item() for one, tensor in single.items()}
    return numbers[node] if node in numbers else number(node, numbers)


def _has_one_element(found: Any) -> bool:
    return isinstance(found, torch.Tensor) and found.numel() == 1 and not found.is_complex()


def _follows(node: Node, known: Values) -> bool:
    random = _is(node, lambda op: torch.Tag.nondeterministic_seeded in op.tags)
    return node.op == "call_function" and not random and known.keys() >= set(node.all_input_nodes)


def _unwritten(needed: Set[Node]) -> bool:
    """Whether nothing was written so far to what these nodes are made from, or to a view of it."""
    made = _reached(
        (one for one in needed if not one.all_input_nodes and not _is_size(one)),
        lambda one: (user for user in one.users if not _is_size(user)),
    )
    return not any(_is(one, lambda op: op._schema.is_mutable and op is not _DETACH) for one in made)


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _node(mode: Any, tensor: torch.Tensor) -> Node | None:
    """What stands for a tensor in the graph that is being traced."""
    found = get_proxy_slot(tensor, mode.tracer, None)
    return None if found is None else found.proxy.node


def _behind(node: Node) -> set[Node]:
    """A node and all that it is made from; a size counts as made from nothing: no write changes it."""
    return _reached([node], lambda one: () if _is_size(one) else one.all_input_nodes)


def _reached(start: Iterable[Node], step: Callable[[Node], Iterable[Node]]) -> set[Node]:
    found = set(start)
    left = list(found)
    while left:
        more = set(step(left.pop())) - found
        found |= more
        left += more
    return found


def _is_size(node: Node) -> bool:
    return isinstance(node.meta.get("val"), int | torch.SymInt)


def _is(node: Node, what: Callable[[torch._ops.OpOverload], bool]) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and what(node.target)


def _attributes(graph: Graph, root: torch.nn.Module) -> Values:
    """Tensors that forward made from numbers: `torch.tensor([2, 3])`."""
    return {one: getattr(root, one.target) for one in graph.nodes if one.op == "get_attr"}
