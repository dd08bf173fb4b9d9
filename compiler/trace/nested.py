"""Models whose forward takes lists, dicts or dataclasses of tensors, and exported programs.

    take_each(model, inputs) -> model      its forward takes one tensor for each input, in their order

An input inside a container is named by the way to it: `feats.0`, `batch.ids`. Numbers from 0 make a list, other
names a dict, unless forward's annotation names another type: a tuple, a named tuple or a dataclass, such as a
ModelOutput. A `.pt2` program knows the containers it was exported with, and the names of its own forward.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from compiler.trace.examples import TraceRefused
from enginebundle.format.spec import TensorSpec

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Forward's arguments by position and by name."""
_DONE = "takes_each"
"""The attribute of a forward that was made here."""
Build = Callable[[Mapping[str, torch.Tensor]], Arguments]


def take_each(model: torch.nn.Module, inputs: tuple[TensorSpec, ...]) -> torch.nn.Module:
    """The model, or one of its weights and modules, whose forward then takes the inputs by position if its own does
    not take them as they are. TraceRefused if the names don't fit its forward."""
    names = tuple(spec.name for spec in inputs)
    if isinstance(model, torch.fx.GraphModule) and hasattr(model.graph._codegen, "pytree_info"):
        return _program(model, names)
    if isinstance(model, _Program) or hasattr(model.forward, _DONE):
        return model
    if not any("." in name for name in names):
        return model
    build, forward, hooks = _by_name(names, model), model.forward, _taken_hooks(model)

    def flat(*tensors: torch.Tensor) -> Any:
        args, kwargs = build(dict(zip(names, tensors, strict=True)))
        for hook, with_kwargs in hooks:
            changed = hook(model, args, kwargs) if with_kwargs else hook(model, args)
            if changed is not None and with_kwargs:
                args, kwargs = changed
            elif changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        return forward(*args, **kwargs)

    setattr(flat, _DONE, True)
    model.forward = flat
    return model


def _taken_hooks(model: torch.nn.Module) -> list[tuple[Callable[..., Any], bool]]:
    """The hooks that look at forward's own arguments, which torch would now show them flat."""
    named = model._forward_pre_hooks_with_kwargs
    hooks = [(hook, key in named) for key, hook in model._forward_pre_hooks.items()]
    model._forward_pre_hooks.clear()
    named.clear()
    return hooks


def _program(model: torch.fx.GraphModule, names: tuple[str, ...]) -> torch.nn.Module:
    """An exported program's module under the names of its own forward; where none of them is given, as it is."""
    info: Any = model.graph._codegen.pytree_info  # type: ignore[attr-defined]
    places = pytree.tree_unflatten(list(range(info.in_spec.num_leaves)), info.in_spec)
    own = [".".join(way) for way in _leaves(places, tuple(info.orig_args))]
    known = set(names) & set(own)
    if not (known or places[1] or any("." in name for name in own)):
        return model
    if known != set(own) and (known or len(names) != len(own)):
        raise TraceRefused(
            "inputs",
            f"the program takes {', '.join(own)}; got {', '.join(names)}",
            "name its inputs so, or give none of these names and list all in this order",
        )
    return _Program(model, [names.index(name) for name in own] if known else range(len(own)))


class _Program(torch.nn.Module):
    """Runs the program's graph, with its weights and modules. torch.export runs that of a GraphModule, whatever its
    forward. `order`: for each leaf of the program's own arguments, the place among the tensors that it takes."""

    _program: torch.fx.GraphModule
    _order: Sequence[int]

    def __init__(self, program: torch.fx.GraphModule, order: Sequence[int]) -> None:
        super().__init__()
        own = vars(program)
        for kind in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            vars(self)[kind] = own[kind]
        vars(self).update({name: value for name, value in own.items() if name not in vars(self)})
        vars(self)["_program"], vars(self)["_order"] = program, order

    def forward(self, *tensors: torch.Tensor) -> Any:
        leaves, program = [tensors[place] for place in self._order], self._program
        info: Any = program.graph._codegen.pytree_info  # type: ignore[attr-defined]
        args, kwargs = pytree.tree_unflatten(leaves, info.in_spec)
        for key, check in program._forward_pre_hooks.items():  # of the sizes it was exported for
            if key in program._forward_pre_hooks_with_kwargs:
                check(program, args, kwargs)
        with torch.fx.traceback.preserve_node_meta():
            runner = torch.fx.Interpreter(self, graph=program.graph)
            results = runner.run(*leaves, enable_io_processing=False)
        return pytree.tree_unflatten(results, info.out_spec)


def _leaves(
    places: tuple[Any, Mapping[str, Any]], parameters: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """Each leaf's way from forward's parameter, in the order of their places."""
    args, kwargs = places
    named = {**dict(zip(parameters, args, strict=False)), **kwargs}
    found = {
        place: (name, *map(_key, way))
        for name, value in named.items()
        for way, place in pytree.tree_flatten_with_path(value)[0]
    }
    return [found[place] for place in sorted(found)]


def _key(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", entry))))


def _by_name(names: tuple[str, ...], model: torch.nn.Module) -> Build:
    parameters = inspect.signature(model.forward).parameters
    hints = _hints(model.forward)
    kinds = {p.kind: p.name for p in parameters.values()}
    rest = kinds.get(inspect.Parameter.VAR_POSITIONAL), kinds.get(inspect.Parameter.VAR_KEYWORD)
    tops = {name.partition(".")[0] for name in names}
    unknown = sorted(tops - parameters.keys()) if rest[1] is None else []
    if unknown:
        raise TraceRefused(
            "inputs",
            f"forward of {type(model).__name__} takes ({', '.join(parameters)}); "
            f"it has no input named {', '.join(map(repr, unknown))}",
            "begin the name of an input in a list or dict with the name of forward's argument: feats.0",
        )
    _build(_tree(dict.fromkeys(names, None)), hints)  # tells what is wrong now

    def build(given: Mapping[str, torch.Tensor]) -> Arguments:
        made = _build(_tree(given), hints)
        kwargs = made.pop(rest[1], {}) if rest[1] in made else {}
        return tuple(made.pop(rest[0], ())) if rest[0] in made else (), {**made, **kwargs}

    return build


def _hints(annotated: Any) -> dict[str, Any]:
    """The annotations of a function or class; none if one has a name that only a type checker knows."""
    try:
        return typing.get_type_hints(annotated)
    except (NameError, TypeError, AttributeError):
        return {}


def _tree(given: Mapping[str, Any]) -> dict[str, Any]:
    """`{"feats.0": a, "feats.1": b}` as `{"feats": {"0": a, "1": b}}`."""
    tree: dict[str, Any] = {}
    for name, value in given.items():
        *outer, leaf = name.split(".")
        branch = tree
        for part in outer:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
    return tree


def _build(tree: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _container(value, hints.get(name), name) if isinstance(value, dict) else value
        for name, value in tree.items()
    }


def _container(parts: Mapping[str, Any], hint: Any, name: str) -> Any:
    """What forward's annotation asks for, filled with the parts."""
    hint = _plain(hint)
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        known = (
            [f.name for f in dataclasses.fields(hint)]
            if dataclasses.is_dataclass(hint)
            else hint._fields
        )
        if unknown := [key for key in parts if key not in known]:
            raise TraceRefused(
                "inputs", f"{hint.__name__}, which forward takes as {name!r}, has no {', '.join(unknown)}",
                f"name inputs in it after its fields: {', '.join(known)}",
            )  # fmt: skip
        return hint(**_build(parts, _hints(hint)))
    if all(key.isdigit() for key in parts):
        order = sorted(parts, key=int)
        if order != [str(n) for n in range(len(order))]:
            raise TraceRefused(
                "inputs", f"the inputs in {name!r} are numbered {', '.join(order)}",
                "number them from 0, without gaps",
            )  # fmt: skip
        variadic = origin is tuple and inner[1:] == (...,)
        each = [inner[0] if inner and (origin is not tuple or variadic) else _at(inner, n)
                for n in range(len(order))]  # fmt: skip
        made = _build({key: parts[key] for key in order}, dict(zip(order, each, strict=True)))
        return (tuple if origin is tuple else list)(made.values())
    return _build(parts, dict.fromkeys(parts, inner[1] if len(inner) == 2 else None))


def _plain(hint: Any) -> Any:
    """`X` of `X | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        left = [one for one in typing.get_args(hint) if one is not type(None)]
        return left[0] if len(left) == 1 else None
    return hint


def _at(inner: tuple[Any, ...], place: int) -> Any:
    return inner[place] if place < len(inner) else None
