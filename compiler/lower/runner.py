"""Runs passes in order, cleans up after each, and refuses a program that no engine can be built from."""

from __future__ import annotations

from dataclasses import dataclass

from torch.export import ExportedProgram

from compiler.lower.conditions import functional, values_known
from compiler.lower.contracts import Contracts, wanted
from compiler.lower.graphs import calls, clean_up, graph_digest
from compiler.lower.passes import LowerOptions, LowerRefused, Pass


@dataclass(frozen=True)
class PassRecord:
    """One pass as it ran: whether the graph's digest changed, and the calls before and after."""

    name: str
    changed: bool
    before: int
    after: int


def run_passes(
    exported: ExportedProgram, passes: tuple[Pass, ...], options: LowerOptions
) -> tuple[ExportedProgram, tuple[PassRecord, ...]]:
    """Run passes in order; after each, dead calls are removed and the signature is updated.

    The first pass must make a new program (decompose does), so that the given one is unchanged.
    Raises LowerRefused, and BrokenContract if the environment asks for checks.
    """
    contracts = Contracts(exported, passes, options) if wanted() else None
    records = []
    digest, count = graph_digest(exported), len(calls(exported))
    for one in passes:
        if contracts is not None:
            contracts.before(exported, one)
        exported = one.run(exported, options)
        clean_up(exported)
        _refuse_invalid(exported, one, options)
        if contracts is not None:
            contracts.after(exported, one)
        after, count_after = graph_digest(exported), len(calls(exported))
        records.append(PassRecord(one.name, after != digest, count, count_after))
        digest, count = after, count_after
    exported.graph_module.recompile()
    return exported, tuple(records)


_ALWAYS = {
    values_known: "report this model: the fault is in the compiler",
    functional: "use the functional form of the operator in the model",
}
"""What every program must meet after every pass, with or without checks, and the remedy if it doesn't."""


def _refuse_invalid(exported: ExportedProgram, one: Pass, options: LowerOptions) -> None:
    for condition, remedy in _ALWAYS.items():
        wrong = condition(exported, options)
        if wrong is not None:
            raise LowerRefused("invalid", f"after pass {one.name}, {wrong}", remedy)
