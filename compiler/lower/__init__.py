"""Lowering: an exported program, rewritten by an ordered tuple of passes.

    lower(exported, keep, precision="fp32") -> ExportedProgram      a new one; the given one is unchanged
    lower_recorded(...)                     -> (ExportedProgram, (PassRecord(pass, changed), ...))
    spelling(options)                       -> the pipeline as text, one entry per pass

`keep` names the ATen overloads to leave whole ("aten.linear.default"): what the converters take.
"""

from __future__ import annotations

from torch.export import ExportedProgram

from compiler.lower.batch_norm import FOLD_BATCH_NORM
from compiler.lower.bound_sizes import BOUND_SIZES
from compiler.lower.complex.pairs import COMPLEX_PAIRS
from compiler.lower.constants import FOLD_CONSTANTS
from compiler.lower.cse import SHARE_EQUAL_CALLS
from compiler.lower.decompose import DECOMPOSE, DEFAULT_KEEP, decomposed_ops
from compiler.lower.float64 import NARROW_POSITIONS
from compiler.lower.libraries import SPELL_AS_ATEN
from compiler.lower.noops import REMOVE_ASSERTS, REMOVE_NOOPS
from compiler.lower.numbers import READ_NUMBERS
from compiler.lower.passes import LowerOptions, LowerRefused, Pass
from compiler.lower.precision import CAST
from compiler.lower.runner import PassRecord, run_passes
from compiler.lower.strides import RESOLVE_STRIDES
from compiler.lower.unread import DROP_UNREAD
from compiler.lower.whole_index import VIEW_WHOLE_INDEX

__all__ = [
    "DEFAULT_KEEP", "PIPELINE", "LowerRefused", "LowerOptions", "Pass", "PassRecord",
    "decomposed_ops", "lower", "lower_recorded", "spelling",
]  # fmt: skip

PIPELINE: tuple[Pass, ...] = (
    DECOMPOSE,
    SPELL_AS_ATEN,
    RESOLVE_STRIDES,
    REMOVE_ASSERTS,
    READ_NUMBERS,
    BOUND_SIZES,
    NARROW_POSITIONS,
    REMOVE_NOOPS,
    VIEW_WHOLE_INDEX,
    DROP_UNREAD,
    FOLD_BATCH_NORM,
    SHARE_EQUAL_CALLS,
    FOLD_CONSTANTS,
    CAST,
    COMPLEX_PAIRS,
)
"""Every pass, in the order they run. Dead code is removed after each."""


def lower(
    exported: ExportedProgram,
    keep: frozenset[str] = DEFAULT_KEEP,
    precision: str = "fp32",
) -> ExportedProgram:
    """Run the pipeline. `precision` is one of `spec.PRECISIONS`. Raises LowerRefused."""
    return lower_recorded(exported, keep, precision)[0]


def lower_recorded(
    exported: ExportedProgram,
    keep: frozenset[str] = DEFAULT_KEEP,
    precision: str = "fp32",
) -> tuple[ExportedProgram, tuple[PassRecord, ...]]:
    """Run the pipeline and record which passes changed the graph, by its digest."""
    return run_passes(exported, PIPELINE, LowerOptions(keep, precision))


def spelling(options: LowerOptions) -> tuple[str, ...]:
    """The only spelling of this pipeline with these options, so that a key can contain it."""
    return tuple(one.spell(options) for one in PIPELINE)
