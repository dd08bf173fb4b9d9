"""`associative_scan` over a dynamic length: as a scan that goes row by row.

Torch's generic form unrolls a tree over the length, which fixes it to a number. A fixed length keeps that
form: it is made of plain operators, which an engine takes.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch._higher_order_ops.scan import scan
from torch.utils import _pytree as pytree

Tensor = torch.Tensor


@contextmanager
def lengths_kept() -> Iterator[None]:
    """While open, an associative scan over a dynamic length is traced as a scan."""
    # By name: the package holds the function of that name where its module would be.
    torchs: Any = importlib.import_module("torch._higher_order_ops.associative_scan")
    unrolled = torchs.generic_associative_scan

    def traced(
        operator: Callable[..., Any], leaves: Sequence[Tensor], dim: int = 0,
        additional_inputs: Sequence[Any] = (),
    ) -> Any:  # fmt: skip
        is_dynamic = isinstance(leaves[0].shape[dim], torch.SymInt)
        combine = _of_rows(operator) if is_dynamic else None
        if combine is None:
            return unrolled(operator, leaves, dim, additional_inputs)
        return _row_by_row(combine, leaves, dim, additional_inputs)

    torchs.generic_associative_scan = traced
    try:
        yield
    finally:
        torchs.generic_associative_scan = unrolled


def _row_by_row(
    combine: Callable[..., Any], leaves: Sequence[Tensor], dim: int, extra: Sequence[Any]
) -> list[Tensor]:
    """Each row combined with all before it."""

    def step(carried: Any, rows: Any) -> Any:
        begun, before = carried
        made = pytree.tree_leaves(combine(*before, *rows, *extra))
        now = [torch.where(begun, one, row) for one, row in zip(made, rows, strict=True)]
        return (torch.ones_like(begun), now), [one.clone() for one in now]

    first = [leaf.select(dim, 0).clone() for leaf in leaves]
    begun = torch.zeros((), dtype=torch.bool, device=leaves[0].device)
    _, outs = scan(step, (begun, first), list(leaves), dim=dim)
    return list(outs)


def _of_rows(operator: Any) -> Callable[..., Any] | None:
    """The user's function on rows; None if it is not found in `operator`, which maps it over batches."""
    mapped = operator.keywords["combine_fn"]
    function = inspect.getclosurevars(mapped).nonlocals.get("func")
    if function is None:
        return None
    return functools.partial(operator.func, **operator.keywords | {"combine_fn": function})
