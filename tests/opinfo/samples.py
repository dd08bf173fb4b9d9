"""PyTorch's own operator samples (`op_db`), each as a module with tensor inputs.

`torch.testing._internal` is private: torch is pinned where this runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from enginebundle.digest import digest_bytes

DTYPES = (torch.float32, torch.float16, torch.int64, torch.bool)


class Call(torch.nn.Module):
    """One call of an operator; the tensors among its arguments are forward's arguments."""

    def __init__(self, op: Any, leaves: list[Any], spec: TreeSpec) -> None:
        super().__init__()
        self.op = op
        self.leaves = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self.places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.spec = spec

    def forward(self, *tensors: torch.Tensor) -> Any:
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        (first, args, kwargs) = tree_unflatten(leaves, self.spec)
        return self.op(first, *args, **kwargs)


@dataclass(frozen=True)
class Sample:
    """One call: `op` is OpInfo's name with its variant, `index` its place among the op's samples."""

    op: str
    dtype: torch.dtype
    index: int
    module: Call
    tensors: tuple[torch.Tensor, ...]

    @property
    def id(self) -> str:
        return f"{self.op}/{str(self.dtype).removeprefix('torch.')}/{self.index}"

    @property
    def fifth(self) -> int:
        """0 to 4, by hash: a fixed share of the samples for a short run."""
        return int(digest_bytes(self.id.encode())[-8:], 16) % 5


def operators() -> list[str]:
    """Every OpInfo's full name, in order."""
    return [name(info) for info in op_db]


def name(info: Any) -> str:
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


def samples(op: str, dtype: torch.dtype, limit: int) -> Iterator[Sample]:
    """The first `limit` samples of one OpInfo on the CPU, from a fixed seed; none if it lacks the dtype."""
    for info in op_db:
        if name(info) != op or dtype not in info.supported_dtypes("cpu"):
            continue
        torch.manual_seed(0)
        found = info.sample_inputs("cpu", dtype, requires_grad=False)
        for index, sample in enumerate(itertools.islice(found, limit)):
            leaves, spec = tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
            tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
            yield Sample(op, dtype, index, Call(info.op, leaves, spec).eval(), tensors)
