"""How forward takes its inputs, by name or in order, and where its program does."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from compiler.trace.examples import TraceRefused
from enginebundle.format.spec import TensorSpec


def passed_by_name(model: torch.nn.Module, inputs: tuple[TensorSpec, ...]) -> bool:
    """Whether forward takes the inputs by name; TraceRefused if it takes only some of them by name."""
    try:
        parameters = inspect.signature(model.forward).parameters
    except ValueError as error:  # a function of C++, TorchScript's too
        raise TraceRefused(
            "inputs",
            f"forward of {type(model).__name__} has no signature that Python can read: {error}",
            "write a forward in Python that calls it",
        ) from error
    names = [spec.name for spec in inputs]
    kinds = {p.kind for p in parameters.values()}
    named = {
        n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    if inspect.Parameter.VAR_KEYWORD in kinds and (named & set(names) or not named):
        return True
    unknown = [name for name in names if name not in named]
    if not unknown:
        return True
    places = [
        p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
    ]
    by_position = len(names) <= len(places) or inspect.Parameter.VAR_POSITIONAL in kinds
    if len(unknown) < len(names) or not by_position:
        raise TraceRefused(
            "inputs",
            f"forward of {type(model).__name__} takes ({', '.join(parameters)}); "
            f"it has no input named {', '.join(map(repr, unknown))}",
            "name the inputs as forward does, or give none of them forward's names and list them in its order",
        )
    return False


def by_position(model: torch.nn.Module, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry for each parameter of forward; what `*args` takes is one tuple."""
    kinds = [p.kind for p in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return shapes
    own = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:own], shapes[own:])


def user_inputs(
    exported: ExportedProgram, inputs: tuple[TensorSpec, ...]
) -> list[tuple[TensorSpec, Any]]:
    """Each input with its placeholder node, in the order of `inputs`.

    Positional inputs are matched by order, keyword inputs by name, whatever their order in forward.
    """
    nodes = {n.name: n for n in exported.graph.nodes if n.op == "placeholder"}
    holders = [
        nodes[spec.arg.name]
        for spec in exported.graph_signature.input_specs
        if spec.kind == InputKind.USER_INPUT
    ]
    in_spec = exported.call_spec.in_spec
    positional, keyword = in_spec.children()
    names = [spec.name for spec in inputs[: positional.num_leaves]] + list(keyword.context or [])
    by_name = dict(zip(names, holders, strict=True))
    return [(spec, by_name[spec.name]) for spec in inputs]
