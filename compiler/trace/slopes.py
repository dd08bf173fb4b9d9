"""torch.gradient in differences of slices, whose sizes may be symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def gradient(
    input: Tensor, *, spacing: Any = 1, dim: int | Sequence[int] | None = None, edge_order: int = 1  # noqa: A002
) -> tuple[Tensor, ...]:  # fmt: skip
    """One tensor for each dimension, of the input's shape."""
    axes = range(input.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    alone = isinstance(spacing, int | float) or (isinstance(spacing, Tensor) and not spacing.ndim)
    steps = [spacing] * len(axes) if alone else list(spacing)
    return tuple(
        _along(input, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True)
    )


def _along(x: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    """`step`: a number, or the coordinates along the axis."""
    x = x.movedim(axis, -1)
    first, last = x[..., : edge_order + 1], x[..., -edge_order - 1 :]
    if isinstance(step, Tensor) and step.ndim:
        gaps = step.diff()
        one, two = gaps[:-1], gaps[1:]
        middle = (
            -two / (one * (one + two)) * x[..., :-2] + (two - one) / (one * two) * x[..., 1:-1]
            + one / (two * (one + two)) * x[..., 2:]
        )  # fmt: skip
        begin, end = _edge(first, gaps[:2]), _edge(last.flip(-1), -gaps[-2:].flip(0))
    else:
        middle = (x[..., 2:] - x[..., :-2]) / (2 * step)
        gap = torch.as_tensor(step).reshape(1).expand(2)
        begin, end = _edge(first, gap), _edge(last.flip(-1), -gap)
    return torch.cat([begin, middle, end], -1).movedim(-1, axis)


def _edge(values: Tensor, gaps: Tensor) -> Tensor:
    """The slope at the first of two or three values with these distances from one to the next."""
    if values.shape[-1] == 2:
        return values.diff() / gaps[0]
    one, two = gaps[0], gaps[1]
    weights = (
        -(2 * one + two) / (one * (one + two)),
        (one + two) / (one * two),
        -one / (two * (one + two)),
    )
    return sum(w * values[..., i : i + 1] for i, w in enumerate(weights))  # type: ignore[return-value]
