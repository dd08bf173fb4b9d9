"""PyTorch's own operator samples (`op_db`), each as a module with tensor inputs.

`torch.testing._internal` is private, so torch is pinned where this runs.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from enginebundle.format.digest import digest_bytes

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int64": torch.int64,
    "bool": torch.bool,
}


class Call(torch.nn.Module):
    """One call of an operator, as a module; its tensor arguments are the arguments of forward."""

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
    """One call. `op` is OpInfo's name with the variant, `index` the place among the operator's samples."""

    op: str
    dtype: str
    index: int
    module: Call
    tensors: tuple[torch.Tensor, ...]

    @property
    def operator(self) -> str:
        """OpInfo's name, without that of a variation of the sample (tests/fuzz/arguments.py)."""
        return self.op.partition("+")[0]

    @property
    def id(self) -> str:
        return f"{self.op}/{self.dtype}/{self.index}"

    @property
    def hash(self) -> str:
        """Selects a fixed share of the samples."""
        return digest_bytes(self.id.encode())

    def within(self, share: int) -> bool:
        """Whether it is of the one in `share` samples that the hash selects."""
        return int(self.hash[-8:], 16) % share == 0

    def inputs(self) -> list[torch.Tensor]:
        """Fresh tensors: an operator may write into its inputs."""
        return [t.detach().clone() for t in self.tensors]


def operators(dtype: str) -> list[str]:
    """The full name of every OpInfo that supports the dtype on the CPU, in op_db's order."""
    return [op for op, info in _infos().items() if DTYPES[dtype] in info.supported_dtypes("cpu")]


def samples(op: str, dtype: str, limit: int | None = None, seed: int = 0) -> list[Sample]:
    """An operator's samples, from a fixed seed, so the same in every run; at most `limit`, chosen by hash."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    info = _infos()[op]
    made: Iterator[Any] = info.sample_inputs("cpu", DTYPES[dtype], requires_grad=False)
    found = []
    for index, sample in enumerate(made):
        leaves, spec = tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
        found.append(Sample(op, dtype, index, Call(info.op, leaves, spec).eval(), tensors))
    chosen = sorted(found, key=lambda sample: sample.hash)[:limit]
    return sorted(chosen, key=lambda sample: sample.index)


@functools.cache
def _infos() -> dict[str, Any]:
    """By full name: the operator's, followed by the variant's if there is one."""
    named = ((i.name, f".{i.variant_test_name}" if i.variant_test_name else "", i) for i in op_db)
    return {name + variant: info for name, variant, info in named}
