"""The one place that runs a user's code to make an `nn.Module`.

load_model(source) -> nn.Module in eval mode; ModelRefused otherwise
load_function("package.module:function", search_path) -> the function itself
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from compiler.refused import Refused, with_causes
from compiler.trace.shadow import shadow
from compiler.trace.source import JSON, Source


class ModelRefused(Refused):
    """The source gives no model.

    Codes: `source`, `import`, `shadowed`, `function`, `raised`, `not_a_module`, `torchscript`, `untrusted`,
    `program`.
    """


def load_model(source: Source) -> torch.nn.Module:
    """Run the entrypoint (or read the program file) and put the module in eval mode."""
    if (source.entrypoint is None) == (source.program is None):
        raise ModelRefused(
            "source",
            "a source has exactly one of entrypoint and program, "
            f"got entrypoint={source.entrypoint!r} and program={source.program!r}",
            'give `entrypoint: "package.module:function"` or `program: model.pt2`',
        )
    if source.program is not None:
        return _load_program(source.program, source.trusted)
    assert source.entrypoint is not None
    function = load_function(source.entrypoint, source.search_path)
    model = call_user(function, dict(source.kwargs), source.entrypoint)
    if not isinstance(model, torch.nn.Module):
        raise ModelRefused(
            "not_a_module",
            f"{source.entrypoint} returned {type(model).__name__}; expected a torch.nn.Module",
            "return the module itself (wrap a plain function in a module's forward)",
        )
    for path, inner in model.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            where = f"in its module {path!r}" if path else "itself"
            raise ModelRefused(
                "torchscript",
                f"{source.entrypoint} returned TorchScript ({type(inner).__name__}) {where}, whose code "
                "torch.export can't read",
                "return the nn.Module that it was scripted or traced from, with its state_dict loaded; "
                "a file by torch.jit.save holds that state_dict, but not the module's Python code",
            )
    return model.eval()


def load_function(entrypoint: str, search_path: tuple[str, ...] = ()) -> Callable[..., Any]:
    """The callable that `package.module:function` names; ModelRefused if there is none."""
    module_name, colon, function_name = entrypoint.partition(":")
    if not (module_name and colon and function_name):
        raise ModelRefused(
            "import",
            f"entrypoint {entrypoint!r} is not spelled 'package.module:function'",
            "put a colon between the module and the function",
        )
    for folder in reversed([str(Path(entry).resolve()) for entry in search_path]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    if hidden := shadow(module_name, search_path, sys.modules):
        raise ModelRefused(
            "shadowed",
            f"entrypoint {entrypoint!r}: {hidden.text('on the search path')}",
            "rename it",
        )
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ModelRefused(
            "import",
            f"entrypoint {entrypoint!r}: module {module_name!r} does not import: "
            f"{with_causes(error)}",
            "install what is missing, or name the folder that holds the module in search_path",
        ) from error
    for part in function_name.split("."):
        if not hasattr(target, part):
            public = sorted(n for n in vars(target) if callable(vars(target)[n]) and n[0] != "_")
            raise ModelRefused(
                "function",
                f"entrypoint {entrypoint!r}: {module_name} has no {function_name!r}; "
                f"it has {', '.join(public[:10]) or 'no callables'}",
                "name a function of that module",
            )
        target = getattr(target, part)
    if not callable(target):
        raise ModelRefused(
            "function",
            f"entrypoint {entrypoint!r} names a {type(target).__name__}; expected a function",
            "name a function that returns the model",
        )
    return target  # type: ignore[no-any-return]


def call_user(function: Callable[..., Any], kwargs: dict[str, JSON], name: str) -> Any:
    """Call a user's function; whatever it raises becomes ModelRefused with the cause quoted."""
    try:
        return function(**kwargs)
    except Exception as error:  # a user's function may raise anything
        raise ModelRefused(
            "raised",
            f"{name} raised {with_causes(error)}",
            f"call it with {kwargs!r} in a Python shell, and correct what it reports",
        ) from error


def _load_program(path: str, trusted: bool) -> torch.nn.Module:
    if not trusted:
        raise ModelRefused(
            "untrusted",
            f"program file {path!r} is not opened: a .pt2 file can carry pickle, "
            "and so can run any code while it is read",
            "set `trusted: true` if you know who made it, or use an entrypoint",
        )
    if not Path(path).is_file():
        raise ModelRefused("program", f"program file {path!r} does not exist", "correct the path")
    try:
        return torch.export.load(path).module()
    except Exception as error:  # a damaged archive may make the reader raise anything
        raise ModelRefused(
            "program",
            f"program file {path!r} does not open as an exported program: {with_causes(error)}",
            "save it again with torch.export.save under this torch version",
        ) from error
