"""Adds calls, with metadata and an origin, to a graph before a given node."""

from __future__ import annotations

from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch.export import ExportedProgram

from compiler.lower.constants import add_constant


class Writer:
    """Writes nodes before `at`, with the origin (the user's line) of `origin`, or of `at` if None."""

    def __init__(
        self, exported: ExportedProgram, at: torch.fx.Node, origin: torch.fx.Node | None = None
    ) -> None:
        self.exported = exported
        self.at = at
        self.origin = origin or at

    def call(self, op: Any, /, *args: Any, **kwargs: Any) -> torch.fx.Node:
        """A call of an ATen overload, or of a Python function on sizes."""
        with self.exported.graph.inserting_before(self.at):
            made: torch.fx.Node = self.exported.graph.call_function(op, args, kwargs)
        kept = ("stack_trace", "nn_module_stack")
        made.meta = {k: v for k, v in self.origin.meta.items() if k in kept}
        values, words = torch.fx.map_arg((args, kwargs), lambda node: node.meta["val"])
        # With Python's dispatcher: C++ kernels would fix symbolic sizes to their example values.
        with enable_python_dispatcher(), self._mode():
            made.meta["val"] = op(*values, **words)
        return made

    def constant(self, name: str, tensor: torch.Tensor) -> torch.fx.Node:
        """A new weight of the program."""
        return add_constant(self.exported, f"{self.at.name}_{name}", tensor, self.origin)

    def arange(self, size: Any) -> torch.fx.Node:
        """int64 numbers from 0 to `size` - 1, on the device of `at`; `size` is a number or a node."""
        value = self.at.meta["val"]
        device = (value[0] if isinstance(value, tuple | list) else value).device
        return self.call(torch.ops.aten.arange.default, size, dtype=torch.int64, device=device)

    def _mode(self) -> Any:
        holders = (n for n in self.exported.graph.nodes if n.op == "placeholder")
        return next(
            value.fake_mode for n in holders if hasattr(value := n.meta["val"], "fake_mode")
        )
