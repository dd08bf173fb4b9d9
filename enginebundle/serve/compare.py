"""How all tensors are compared: |got - want| <= atol + rtol * |want|, elementwise.

NaN equals NaN, and an infinity equals itself. Integers and bools must be equal whatever the tolerance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enginebundle.format.spec import Tolerance

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Comparison:
    """`max_abs`: the largest |got - want|. `worst`: the largest |got - want| / (atol + rtol * |want|).

    Both are infinite where no finite number exists: a NaN or infinity on one side only, or a wrong
    shape or dtype. `detail` is what failed, empty when `passed`.
    """

    max_abs: float
    worst: float
    passed: bool
    detail: str = ""


def compare(got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance) -> Comparison:
    """Compare on the CPU in double precision. Never raises on a difference."""
    import torch

    if got.dtype != want.dtype:
        return _unlike(f"expected dtype {want.dtype}, got {got.dtype}")
    if got.shape != want.shape:
        return _unlike(f"expected shape {list(want.shape)}, got {list(got.shape)}")
    if want.numel() == 0:
        return Comparison(0.0, 0.0, True)
    exact = not (want.dtype.is_floating_point or want.dtype.is_complex)
    wide = torch.complex128 if want.dtype.is_complex else torch.float64
    # Above 2^53, different int64 values round to one double, so equality is decided on the integers.
    differs = (got.cpu() != want.cpu()).reshape(-1)
    a, b = (t.detach().cpu().reshape(-1).to(wide) for t in (got, want))
    same = ~differs | (torch.isnan(a) & torch.isnan(b))
    infinite = torch.tensor(math.inf, dtype=torch.float64)
    error = torch.where(same, torch.zeros_like(infinite), (a - b).abs())
    error = torch.where(torch.isnan(error), infinite, error)
    size = torch.where(torch.isfinite(b.abs()), b.abs(), torch.zeros_like(infinite))
    allowed = torch.zeros_like(error) if exact else tolerance.atol + tolerance.rtol * size
    ratio = torch.where(same, torch.zeros_like(error), error / allowed)
    # Different values whose difference in double precision is zero or NaN still differ.
    ratio = torch.where(~same & (torch.isnan(ratio) | (error == 0)), infinite, ratio)
    worst, position = float(ratio.max()), int(ratio.argmax())
    if worst <= 1.0:
        return Comparison(float(error.max()), worst, True)
    where = _position(position, tuple(want.shape))
    return Comparison(
        float(error.max()),
        worst,
        False,
        f"{int((ratio > 1).sum())} of {want.numel()} elements differ too much; the worst at {where}: "
        f"expected {want.reshape(-1)[position].item()}, got {got.reshape(-1)[position].item()} "
        f"({'exact' if exact else f'atol {tolerance.atol}, rtol {tolerance.rtol}'})",
    )


def _unlike(detail: str) -> Comparison:
    return Comparison(math.inf, math.inf, False, detail)


def _position(flat: int, shape: tuple[int, ...]) -> list[int]:
    index = []
    for size in reversed(shape):
        flat, remainder = divmod(flat, size)
        index.append(remainder)
    return index[::-1]
