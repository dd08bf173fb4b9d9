"""How far a result is from eager torch's, in units of the tolerance within which they count as equal.

Half precision has two right answers: that of eager torch, which rounds in each of its kernels, and
that of the same call in float32. A result may be as far from the second as eager is. Where elements
are summed, it may also be off by as much as the second changes when each input is changed by one
rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.utils._pytree import tree_flatten

from compiler.network.network import Network
from tests.opinfo.samples import Sample

TOLERANCES = {
    torch.float32: (1e-4, 1e-5),
    torch.float16: (2e-3, 2e-3),
    torch.bfloat16: (2e-2, 2e-2),
}
"""The relative and absolute error that count as 1."""
CANCELLED = 1e-6
"""Where float32 terms are summed, errors up to this fraction of the largest result do not count: when
terms of that size cancel, any order of summation loses as much."""
SUMS = frozenset({
    "matmul", "einsum", "reduce", "convolution", "deconvolution", "cumulative", "attention",
    "softmax", "normalization",
})  # fmt: skip
"""Layers that sum elements."""
OPEN = {"mode": (1,), "kthvalue": (1,), "topk": (1,)}
"""Results that torch does not define, by operator: positions of one of several equal numbers."""


@dataclass(frozen=True)
class Reference:
    """What a result of a sample is compared with: eager torch's, and in half precision also float32's."""

    want: torch.Tensor
    exact: torch.Tensor | None = None
    slack: torch.Tensor | None = None
    """How far each element may be from `exact`."""
    sums: bool = False
    open: bool = False

    def distance(self, got: torch.Tensor) -> float:
        """The largest error; infinite if the dtype, the shape or a NaN differs."""
        if got.dtype != self.want.dtype or got.shape != self.want.shape:
            return math.inf
        return float(self._errors(got).max()) if self.want.numel() else 0.0

    def describe(self, got: torch.Tensor) -> str:
        """Describes where a result differs most."""
        want = self.want
        if got.dtype != want.dtype or got.shape != want.shape:
            return f"expected {want.dtype} {tuple(want.shape)}, got {got.dtype} {tuple(got.shape)}"
        errors = self._errors(got)
        place = tuple(int(i) for i in (errors == errors.max()).nonzero()[0])
        return f"at {place} expected {want[place].item()}, got {got[place].item()}"

    def _errors(self, got: torch.Tensor) -> torch.Tensor:
        if self.open:
            return torch.zeros_like(got, dtype=torch.float64)
        if not self.want.is_floating_point():
            return torch.where(got == self.want, 0.0, math.inf)
        errors = _relative(got, self.want, torch.tensor(0.0), self.sums)
        if self.exact is None or self.slack is None:
            return errors
        return torch.minimum(errors, _relative(got, self.exact, self.slack, self.sums))


def _relative(
    got: torch.Tensor, want: torch.Tensor, slack: torch.Tensor, sums: bool
) -> torch.Tensor:
    """Each element's error minus the slack, in units of the tolerance."""
    rtol, atol = TOLERANCES.get(want.dtype, TOLERANCES[torch.float32])
    a, b = got.double(), want.double()
    if sums and want.dtype == torch.float32:
        finite = b[b.isfinite()].abs()
        atol += CANCELLED * float(finite.max()) if finite.numel() else 0.0
    same = (a == b) | (a.isnan() & b.isnan())
    off = ((a - b).abs() - slack).clamp(min=0)
    errors = torch.where(same, 0.0, off / (atol + rtol * b.abs()))
    return torch.where(errors.isnan(), math.inf, errors)


def references(sample: Sample, want: Sequence[torch.Tensor], network: Network) -> list[Reference]:
    """One reference for each of eager torch's results."""
    sums = any(layer.kind in SUMS for layer in network.layers)
    free = OPEN.get(sample.operator, ())
    plain = [Reference(w, sums=sums, open=i in free) for i, w in enumerate(want)]
    if sample.dtype != "float16":
        return plain
    inputs = [t.float() if t.dtype == torch.float16 else t for t in sample.inputs()]
    exact = _called(sample, inputs, want)
    if exact is None:
        return plain
    moved = [_called(sample, _moved(inputs, seed), want) for seed in (0, 1)] if sums else []
    return [
        _of_half(reference, exact[i], [m[i] for m in moved if m is not None])
        for i, reference in enumerate(plain)
    ]


def _called(
    sample: Sample, inputs: Sequence[torch.Tensor], want: Sequence[torch.Tensor]
) -> list[torch.Tensor] | None:
    """The call's results on other inputs, if their shapes are the same."""
    try:
        with torch.no_grad():
            result = sample.module(*(t.clone() for t in inputs))
    except (RuntimeError, ValueError, TypeError):
        return None
    leaves = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
    return leaves if [t.shape for t in leaves] == [t.shape for t in want] else None


def _moved(inputs: Sequence[torch.Tensor], seed: int) -> list[torch.Tensor]:
    """The float32 inputs, with each element changed up or down by one rounding of float16."""
    torch.manual_seed(seed)
    step = torch.finfo(torch.float16).eps / 2
    return [
        t * (1 + step * torch.randn(t.shape).sign()) if t.is_floating_point() else t for t in inputs
    ]


def _of_half(reference: Reference, exact: torch.Tensor, moved: Sequence[torch.Tensor]) -> Reference:
    if reference.want.dtype != torch.float16 or not exact.is_floating_point():
        return reference
    rounded = exact.to(torch.float16)
    slack = (reference.want.double() - rounded.double()).abs()
    slack = torch.where(slack.isfinite(), slack, 0.0)
    for other in moved:
        change = (other.double() - exact.double()).abs()
        slack = slack + torch.where(change.isfinite(), change, 0.0)
    return replace(reference, exact=rounded, slack=slack)
