"""Swap pieces of a model for the user's own, by name, before it is compiled.

    Replacement("module",   "encoder.*.attn",   "with",      "package.module:factory")
    Replacement("module",   "MultiheadAttention", "with",    "compiler.recipes.attention:multihead_attention")
    Replacement("operator", "aten.gelu.default", "with",      "package.module:torch_function")
    Replacement("operator", "mylib.op.default", "converter", "package.module:function_on_net")
    Replacement("operator", "mylib.op.default", "plugin",    "MyPlugin@1")        trt targets only
    Replacement("function", "package.module:f", "with",      "package.module:g")
    Replacement("function", "package.module:f", "converter", "package.module:function_on_net")

A module's factory is called with the old module and returns the new one. An operator's torch
function takes the operator's arguments. A converter takes (net, <the schema's argument names>). A
function with a converter becomes one operator of its own while the model is traced.

The goldens come from the original eager model, so that a replacement is validated like everything
else. A pattern that matches nothing is refused, with near matches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.export import ExportedProgram

from compiler.refused import first_lines
from compiler.replace.converters import check_operators, operator_name, operators_of, registry_with
from compiler.replace.functions import replace_functions
from compiler.replace.replacement import Replaced, Replacement, ReplaceRefused, nothing
from compiler.trace.load import load_function

__all__ = [
    "Replaced",
    "ReplaceRefused",
    "Replacement",
    "check_operators",
    "registry_with",
    "replace_functions",
    "replace_modules",
    "replace_operators",
    "without_plugins",
]


def replace_modules(
    model: torch.nn.Module,
    replacements: Sequence[Replacement],
    search_path: tuple[str, ...] = (),
) -> tuple[torch.nn.Module, tuple[Replaced, ...]]:
    """The model with its modules swapped in place, and what was swapped. Other kinds are left alone.

    A pattern is a path (`encoder.layer.0`), a class name or a glob over either; of nested matches the
    outermost is swapped. Raises ReplaceRefused, or ModelRefused if a factory does not import.
    """
    done = []
    for replacement in replacements:
        if replacement.kind != "module":
            continue
        factory = load_function(replacement.by, search_path)
        places: list[str] = []
        for path, module in list(model.named_modules()):
            inside = any(path == p or path.startswith(f"{p}.") or p == "" for p in places)
            if inside or not _names(replacement.pattern, path, module):
                continue
            new = _made(factory, module, path, replacement).train(module.training)
            places.append(path)
            if path:
                parent, _, name = path.rpartition(".")
                setattr(model.get_submodule(parent), name, new)
            else:
                model = new
        if not places:
            known = {name for path, m in model.named_modules() for name in (path, type(m).__name__)}
            raise nothing("module", replacement, known - {""})
        done.append(Replaced(replacement, tuple(places)))
    return model, tuple(done)


def _names(pattern: str, path: str, module: torch.nn.Module) -> bool:
    kind = type(module)
    own = (path, kind.__name__, f"{kind.__module__}.{kind.__qualname__}")
    return any(name == pattern or fnmatchcase(name, pattern) for name in own if name)


def _made(
    factory: Callable[..., Any], old: torch.nn.Module, path: str, replacement: Replacement
) -> torch.nn.Module:
    try:
        new = factory(old)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError,
            RuntimeError, TypeError, ValueError) as error:  # fmt: skip
        raise ReplaceRefused(
            "factory",
            f"{replacement.by} raised on {path or 'the model'} ({type(old).__name__}): {first_lines(error)}",
            "make it take the old module and return the new one, or narrow the pattern to modules it can replace",
        ) from error
    if not isinstance(new, torch.nn.Module):
        raise ReplaceRefused(
            "factory",
            f"{replacement.by} returned a {type(new).__name__} for {path or 'the model'}; "
            "expected a torch.nn.Module",
            "make it return the module to use instead",
        )
    return new


def replace_operators(
    exported: ExportedProgram,
    replacements: Sequence[Replacement],
    search_path: tuple[str, ...] = (),
) -> tuple[ExportedProgram, tuple[Replaced, ...]]:
    """The program with operators computed by the user's torch functions. Raises ReplaceRefused."""
    done, table = [], {}
    for replacement in replacements:
        if (replacement.kind, replacement.way) != ("operator", "with"):
            continue
        function = load_function(replacement.by, search_path)
        name = operator_name(replacement.pattern)
        calls = [n for n in exported.graph.nodes if str(n.target) == name]
        if not calls:
            raise nothing("operator", replacement, operators_of(exported))
        done.append(Replaced(replacement, tuple(node.name for node in calls)))
        table[calls[0].target] = function
    if table:
        try:
            with torch.no_grad():
                exported = exported.run_decompositions(table)
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            named = ", ".join(str(one.replacement) for one in done)
            raise ReplaceRefused(
                "function",
                f"{named}: its torch function fails: {first_lines(error)}",
                "make it take the operator's own arguments and return what the operator returns",
            ) from error
    return exported, tuple(done)


def without_plugins(
    exported: ExportedProgram, replacements: Sequence[Replacement]
) -> ExportedProgram | None:
    """The program with operators that plugins compute written out, from their torch implementations.

    None if there are none, if all are PyTorch's own (which bundles can call), or if one can't be traced.
    """
    named = {operator_name(r.pattern) for r in replacements if r.way == "plugin"}
    targets = {n.target for n in exported.graph.nodes if str(n.target) in named}
    table = {}
    for target in targets:
        own = OPDEFS.get(target._schema.name)  # a torch.library.custom_op's
        if own is not None:
            table[target] = own._init_fn
        elif target.namespace != "aten":
            return None
    if not table:
        return None
    try:
        with torch.no_grad():
            written_out: ExportedProgram = exported.run_decompositions(table)
    except (RuntimeError, TypeError, ValueError, AssertionError):  # a kernel, not aten calls
        return None
    return written_out
