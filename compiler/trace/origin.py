"""The line of the user's program, and the module, that a node comes from."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch

from enginebundle.format.graph import Origin

_FRAME = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*(?:\n    (?P<code>[^\n]*))?'
)
_TORCH = str(Path(torch.__file__).parent) + "/"


def origin_of(node: torch.fx.Node) -> Origin:
    """The innermost frame outside torch, and the modules around it, that made the node."""
    frames = [
        frame
        for frame in _FRAME.finditer(node.meta.get("stack_trace") or "")
        if not frame["file"].startswith((_TORCH, "torch/", "<"))
    ]
    path, kind = _module(node.meta.get("nn_module_stack") or {})
    if not frames:
        return Origin(module=path, module_class=kind)
    last = frames[-1]
    return Origin(
        shorten(last["file"]), int(last["line"]), (last["code"] or "").strip(), path, kind
    )


def _module(stack: dict[str, Any]) -> tuple[str, str]:
    """The innermost module's path, and the classes from the outermost to it: `Model/Layer/Linear`."""
    entries = [entry for key, entry in stack.items() if not key.startswith("_empty")]
    names = [
        kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        for _, kind in entries
    ]
    path = str(entries[-1][0]) if entries else ""
    return path, "/".join(name.rpartition(".")[2] for name in names)


def shorten(file: str) -> str:
    """Relative to the longest `sys.path` entry, so that the text is the same on every machine."""
    roots = [root for entry in sys.path if (root := str(Path(entry or ".").resolve()) + "/") != "/"]
    matching = [root for root in roots if file.startswith(root)]
    return file[len(max(matching, key=len)) :] if matching else file
