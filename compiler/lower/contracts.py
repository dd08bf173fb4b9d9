"""Checks that passes keep their contracts, so that a pass that breaks one is caught by name.

The checks take about as long as the passes, so they run only where KILN_CHECK_PASSES is set to
something other than 0 or nothing: in this repository's tests, and wherever a wrong program must be
traced to the pass that made it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from compiler.lower.graphs import graph_digest
from compiler.lower.passes import Condition, LowerOptions, Pass

SWITCH = "KILN_CHECK_PASSES"
"""The environment variable that turns the checks on."""


class BrokenContract(Exception):
    """A pass did not keep its contract, or was run where its requirements don't hold."""


def wanted() -> bool:
    """Whether the environment asks for checks."""
    return os.environ.get(SWITCH, "0") not in ("", "0")


class Contracts:
    """Checks one run of a pipeline: `before` and `after` each of its passes, in order.

    Besides its own contract, each pass must leave the given program alone, keep the dtypes of the
    model's inputs and outputs, and keep what earlier passes ensured if later ones require it.
    """

    def __init__(
        self, given: ExportedProgram, passes: Sequence[Pass], options: LowerOptions
    ) -> None:
        self.given = given
        self.options = options
        self.digest = graph_digest(given)
        self.border = _border(given)
        self.waiting = list(passes)
        """The passes that have not finished."""
        self.ensured: dict[Condition, str] = {}
        """Every condition that has been ensured, and the last pass that ensured it."""

    def before(self, exported: ExportedProgram, one: Pass) -> None:
        """Raises BrokenContract if the program does not meet what `one` requires."""
        for condition in one.requires:
            wrong = condition(exported, self.options)
            if wrong is not None:
                raise BrokenContract(f"pass {one.name} requires {_stated(condition)}: {wrong}")

    def after(self, exported: ExportedProgram, one: Pass) -> None:
        """Raises BrokenContract if `one` did not keep its contract."""
        self.waiting.remove(one)
        if graph_digest(self.given) != self.digest:
            raise BrokenContract(f"pass {one.name} changed the program that was given")
        wrong = self._border_moved(exported)
        if wrong is not None:
            raise BrokenContract(f"after pass {one.name}, {wrong}")
        for condition in one.ensures:
            wrong = condition(exported, self.options)
            if wrong is not None:
                raise BrokenContract(
                    f"pass {one.name} does not ensure {_stated(condition)}: {wrong}"
                )
        self.ensured |= dict.fromkeys(one.ensures, one.name)
        for condition, ensurer in self.ensured.items():
            reader = next((p.name for p in self.waiting if condition in p.requires), None)
            if reader is None or ensurer == one.name:
                continue
            wrong = condition(exported, self.options)
            if wrong is not None:
                raise BrokenContract(
                    f"pass {one.name} breaks {_stated(condition)}, which {ensurer} ensured and "
                    f"{reader} requires: {wrong}"
                )

    def _border_moved(self, exported: ExportedProgram) -> str | None:
        for was, now in zip(self.border, _border(exported), strict=True):
            if was != now:
                return f"{now}; expected {was}"
        return None


def _stated(condition: Condition) -> str:
    """A condition's name and its statement."""
    statement = (condition.__doc__ or "").partition("\n")[0].rstrip(".")
    return f"{condition.__name__} ({statement})" if statement else condition.__name__


def _border(exported: ExportedProgram) -> list[str]:
    """The model's inputs and outputs, each with its dtype, in words."""
    signature = exported.graph_signature
    nodes = {node.name: node for node in exported.graph.nodes}
    (output,) = [node for node in exported.graph.nodes if node.op == "output"]
    inputs = [
        nodes.get(spec.arg.name) for spec in signature.input_specs
        if spec.kind == InputKind.USER_INPUT
    ]  # fmt: skip
    outputs = [
        leaf for spec, leaf in zip(signature.output_specs, output.args[0], strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]  # fmt: skip
    return [
        *(f"input {place} is {_kind(node)}" for place, node in enumerate(inputs)),
        *(f"output {place} is {_kind(leaf)}" for place, leaf in enumerate(outputs)),
    ]


def _kind(leaf: Any) -> str:
    value = leaf.meta.get("val") if isinstance(leaf, torch.fx.Node) else leaf
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype}"
    if isinstance(value, bool | torch.SymBool):
        return "a bool"
    if isinstance(value, int | torch.SymInt):
        return "an integer"
    return "a float" if isinstance(value, float | torch.SymFloat) else type(value).__name__
