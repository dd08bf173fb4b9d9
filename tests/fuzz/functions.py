"""Functions that random programs call besides torch's own operators; their values stay moderate."""

from __future__ import annotations

import torch


def softlog(x: torch.Tensor) -> torch.Tensor:
    return torch.log(x.abs() + 0.5)


def inverse(x: torch.Tensor) -> torch.Tensor:
    return torch.rsqrt(x * x + 0.5)


def ratio(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x / (y.abs() + 0.5)


def blend(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """A soft selection by x, which a rounding error in x hardly changes, even near zero."""
    return y * torch.sigmoid(4 * x) + z * torch.sigmoid(-4 * x)


def distances(x: torch.Tensor, axes: list[int], keepdim: bool) -> torch.Tensor:
    return torch.sqrt(torch.sum(x * x, axes, keepdim=keepdim) + 0.1)


def largest(x: torch.Tensor, axis: int, down: bool) -> torch.Tensor:
    return torch.sort(x, axis, descending=down).values


def product_of_transposed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.matmul(x, y.transpose(-1, -2))


def rows(x: torch.Tensor, axis: int, places: list[int]) -> torch.Tensor:
    return x.index_select(axis, torch.tensor(places))


def add_one_of(x: torch.Tensor, axis: int, place: int) -> torch.Tensor:
    return x + x.narrow(axis, place, 1)


def times_one_of(x: torch.Tensor, axis: int, place: int) -> torch.Tensor:
    return x.select(axis, place).unsqueeze(axis) * x


def outer(x: torch.Tensor, axis: int, place: int) -> torch.Tensor:
    one = x.select(axis, place)
    return one.unsqueeze(-1) * one.unsqueeze(-2)


def times_other_steps(x: torch.Tensor, axis: int, place: int) -> torch.Tensor:
    half = (x.shape[axis] - place) // 2
    spread = torch.arange(half) * 2 + place
    return x.narrow(axis, place, half) * x.index_select(axis, spread)


def minus_shifted(x: torch.Tensor, axis: int, place: int) -> torch.Tensor:
    kept = x.shape[axis] - 1 - place
    return x - torch.cat((x.narrow(axis, 0, 1 + place), x.narrow(axis, 0, kept)), axis)
