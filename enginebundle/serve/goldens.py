"""A bundle's goldens, run again: each output beside the stored one, in units of its tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from enginebundle.errors import FormatError
from enginebundle.format.evidence import CaseResult
from enginebundle.format.index import Golden
from enginebundle.format.variant import Variant
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.compare import Comparison, compare

if TYPE_CHECKING:
    import torch

    Call = Callable[..., dict[str, torch.Tensor]]


def replay(call: Call, bundle: Bundle, variant: Variant) -> Iterator[CaseResult]:
    """Call the variant with every golden and compare. FormatError if a golden lacks a tensor, and what a
    call raises."""
    for golden in bundle.index.goldens:
        yield from _cases(call, bundle, variant, golden)


def _cases(call: Call, bundle: Bundle, variant: Variant, golden: Golden) -> Iterator[CaseResult]:
    tensors = bundle.read_tensors(golden.blob)
    try:
        inputs = {spec.name: tensors[f"input.{spec.name}"] for spec in bundle.index.inputs}
        wanted = {spec.name: tensors[f"output.{spec.name}"] for spec in bundle.index.outputs}
    except KeyError as error:
        raise FormatError(f"golden {golden.name!r} lacks the tensor {error}") from error
    got = call(**inputs)
    tolerances = dict(variant.tolerances)
    for name, want in wanted.items():
        yield _case(golden.name, name, compare(got[name], want, tolerances[name]))


def _case(golden: str, output: str, found: Comparison) -> CaseResult:
    def number(value: float) -> float:
        return value if math.isfinite(value) else -1.0

    return CaseResult(golden, output, number(found.max_abs), number(found.worst), found.passed)
