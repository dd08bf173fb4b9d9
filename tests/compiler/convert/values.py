"""Tensors and tolerances that operator cases share: special values, small integers, half precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

INF, NAN = math.inf, math.nan

VALUES = (-INF, -7.5, -2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 3.0, 7.5, INF, NAN)

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

I32, I64, BOOL = torch.int32, torch.int64, torch.bool

HALF = {"atol": 1e-3, "rtol": 2e-3}

BRAIN = {"atol": 1e-2, "rtol": 1e-2}

MakeTensor = Callable[[int], torch.Tensor]


def down(dtype: torch.dtype = F32) -> MakeTensor:
    """[n, 13, 1] special values; with `across`, every pair of them meets."""
    return lambda n: torch.tensor(VALUES).reshape(1, -1, 1).repeat(n, 1, 1).to(dtype)


def across(dtype: torch.dtype = F32) -> MakeTensor:
    return lambda n: torch.tensor(VALUES).to(dtype)


def whole(dtype: torch.dtype = I64, zero: bool = True) -> MakeTensor:
    """[n, 7] small integers of both signs."""

    def make(n: int) -> torch.Tensor:
        found = torch.randint(-9, 10, (n, 7))
        return (found if zero else torch.where(found == 0, 4, found)).to(dtype)

    return make


def large(dtype: torch.dtype) -> MakeTensor:
    """Integers from the whole range of the dtype, including its limits and -1."""

    def make(n: int) -> torch.Tensor:
        limits = torch.iinfo(dtype)
        result = torch.randint(limits.min, limits.max, (n, 5), dtype=dtype)
        result[0, :4] = torch.tensor([limits.min, limits.max, -1, 0])
        return result

    return make


def positive(dtype: torch.dtype = F32) -> MakeTensor:
    return lambda n: (torch.rand(n, 7) * 4 + 0.1).to(dtype)


def scalar(value: Any, dtype: torch.dtype = F32) -> MakeTensor:
    return lambda n: torch.tensor(value, dtype=dtype)
