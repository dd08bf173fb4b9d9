"""How far the integers that a model takes may go, found by running it: token ids, positions, classes.

    reach(tensors, run) -> {input: exclusive bound}

The model runs once with all integers 0, while each operator that reads a table by index is watched:
an index that comes from an input, by moves and sums, bounds that input by the rows of the table.
An input that no table is read by has no entry. Bounds may depend on sizes, so ask for each shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Read = tuple[torch.Tensor, int]
"""An index and the number of entries that it chooses from."""

_INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})
_WORDS = """
view _unsafe_view reshape expand slice select unsqueeze squeeze permute transpose t clone _to_copy alias
detach cat stack index index_select gather repeat flip roll masked_fill where unbind split split_with_sizes
constant_pad_nd lift_fresh as_strided view_copy add sub rsub clamp clamp_min clamp_max minimum maximum
remainder select_scatter slice_scatter copy copy_ mul
"""
_MOVES = frozenset(_WORDS.split())
"""Operators whose result holds their input's integers, moved, shifted, limited or (mul) scaled."""


def reach(
    tensors: Mapping[str, torch.Tensor], run: Callable[[Mapping[str, torch.Tensor]], object]
) -> dict[str, int]:
    """The exclusive bound of each integer input that chooses from something, at these tensors' sizes.

    `run` calls the model; what it raises is raised.
    """
    probes = {
        name: torch.zeros_like(tensor) if tensor.dtype in _INTEGERS else tensor
        for name, tensor in tensors.items()
    }
    watch = _Watch({n: tensor for n, tensor in probes.items() if tensor.dtype in _INTEGERS})
    if not watch.inputs:
        return {}
    # Without gradients, but not in inference mode: there the mode would see composite operators whole.
    with torch.no_grad(), watch:
        run(probes)
    return watch.bounds


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the inputs' integers through a call of the model."""

    def __init__(self, inputs: Mapping[str, torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inputs = inputs
        self.bounds: dict[str, int] = {}
        # The tensor is kept beside its origin, so that its id is not given to another one.
        self.origins: dict[int, tuple[torch.Tensor, dict[str, int]]] = {
            id(tensor): (tensor, {name: 1}) for name, tensor in inputs.items()
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        for index, size in _reads(name, args):
            for origin, factor in self._origin(index).items():
                start = int(index.max()) if index.numel() else 0
                bound = max(1, (size - 1 - start) // factor + 1)
                self.bounds[origin] = min(bound, self.bounds.get(origin, bound))
        result = func(*args, **(kwargs or {}))
        if name in _MOVES:
            self._follow(name, args, result)
        return result

    def _origin(self, value: object) -> dict[str, int]:
        return self.origins[id(value)][1] if id(value) in self.origins else {}

    def _follow(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        found: dict[str, int] = {}
        for value in _tensors(args[:1] if name in ("index", "gather", "index_select") else args):
            for origin, factor in self._origin(value).items():
                found[origin] = max(factor, found.get(origin, 0))
        if name == "mul":
            scale = [_number(a) for a in args[:2] if not self._origin(a)]
            if len(scale) != 1 or scale[0] < 1:
                return
            found = {origin: factor * scale[0] for origin, factor in found.items()}
        if found:
            for made in _tensors((result,)):
                if made.dtype in _INTEGERS:
                    self.origins[id(made)] = (made, found)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _number(value: object) -> int:
    """A factor: a positive integer, alone or in a tensor of equal ones; 0 for anything else."""
    if isinstance(value, torch.Tensor) and value.dtype in _INTEGERS and value.numel():
        return int(value.max()) if bool((value == value.flatten()[0]).all()) else 0
    return value if type(value) is int else 0


def _reads(name: str, args: tuple[Any, ...]) -> Iterator[Read]:
    """What an operator reads by index."""
    name = name.removesuffix("_")
    match name:
        case "embedding":
            yield args[1], args[0].shape[0]
        case "_embedding_bag" | "_embedding_bag_forward_only":
            yield args[1], args[0].shape[0]
        case "gather" | "index_select" | "index_add" | "index_fill" | "index_copy":
            yield args[2], _along(args[0], args[1])
        case "scatter" | "scatter_add" | "scatter_reduce":
            yield args[2], _along(args[0], args[1])
        case "take":
            yield args[1], args[0].numel()
        case "index" | "index_put" | "_index_put_impl" | "_unsafe_index":
            axis = 0
            for index in args[1]:
                if index is not None and index.dtype in _INTEGERS - {torch.uint8}:
                    yield index, args[0].shape[axis]
                bits = index is not None and index.dtype in (torch.bool, torch.uint8)
                axis += index.dim() if bits else 1
        case "nll_loss_forward" | "nll_loss2d_forward":
            yield args[1], args[0].shape[1 if args[0].dim() > 1 else 0]


def _along(tensor: torch.Tensor, axis: int) -> int:
    return tensor.shape[axis] if tensor.dim() else 1
