"""A graph from torch.compile as a module with named inputs, sizes and weights.

Dynamo hands over a graph whose placeholders are tensors, sizes and the model's parameters in any
order. `Region` sorts them: tensors become named inputs with symbolic shapes, sizes are read from the
inputs' shapes, and parameters become weights under their names in the model, so that the
same model gives the same program however it is compiled.

    region.module(weights) -> nn.Module         forward(**inputs), to be exported
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compiler.refused import Refused
from enginebundle.format.dims import Dim
from enginebundle.format.spec import Profile, TensorSpec

META = "kiln"
"""The key under which a node's place in the user's program travels through the export."""


class RegionRefused(Refused):
    """A graph that has to run in torch.

    Codes: `input`, `alias`, `mutation`, `gradients`, `autocast`, `sizes`, `empty`.
    """


@dataclass(frozen=True)
class Computed:
    """An output that is computed: its position among those, its device, and its order of dimensions
    in memory, outermost first (None: row-major)."""

    number: int
    device: torch.device
    order: tuple[int, ...] | None


@dataclass(frozen=True)
class Given:
    """An output that is an argument of the call; `apart`: without its gradients, as from `x.detach()`."""

    argument: int
    apart: bool = False


@dataclass(frozen=True)
class Sized:
    """An output that is a number: an expression over the graph's symbols."""

    dim: Dim


@dataclass(frozen=True)
class Literal:
    """An output that is a constant of the program."""

    value: Any


Returned = Computed | Given | Sized | Literal


@dataclass(frozen=True)
class Region:
    """A graph with its arguments sorted. `arguments` gives, for each input, the position of the call's
    argument that holds it, a tensor or a size. `weights` and `numbers` give, by name, the positions
    of the parameters and of the user's numbers, all of which are built in as constants."""

    graph: torch.fx.Graph
    attributes: Mapping[str, Any]
    inputs: tuple[TensorSpec, ...]
    profile: Profile
    arguments: tuple[int, ...]
    weights: Mapping[str, int]
    numbers: Mapping[str, int]
    returns: tuple[Returned, ...]
    place: str

    def module(self, values: Mapping[str, torch.Tensor | float]) -> torch.nn.Module:
        """The graph as a module of its own on the CPU; its forward takes the inputs by name."""
        return _Module(self, values)


class _Module(torch.nn.Module):
    """Runs the graph node by node, so that each call keeps its place in the user's program."""

    def __init__(self, region: Region, values: Mapping[str, torch.Tensor | float]) -> None:
        super().__init__()
        self._graph = region.graph
        for name, value in {**region.attributes, **values}.items():
            *outer, leaf = name.split(".")
            owner: torch.nn.Module = self
            for part in outer:
                if not hasattr(owner, part):
                    owner.add_module(part, torch.nn.Module())
                owner = getattr(owner, part)
            if isinstance(value, torch.Tensor):
                owner.register_buffer(leaf, value.detach().cpu())
            else:
                setattr(owner, leaf, value)
        names = [spec.name for spec in region.inputs]
        self.forward = _with_signature(self._run, names)

    def _run(self, *inputs: torch.Tensor) -> Any:
        with torch.fx.traceback.preserve_node_meta():
            return torch.fx.Interpreter(self, graph=self._graph).run(*inputs)


def _with_signature(run: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, positional) for name in names])

    def forward(*args: Any, **kwargs: Any) -> Any:
        return run(*signature.bind(*args, **kwargs).args)

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward
