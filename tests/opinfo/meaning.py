"""Which samples are no task for an inference engine, and why: every exclusion follows a stated rule.

    eager(sample) -> the tensors that eager torch gives | Excluded(reason)

Where possible, the rules look at the call itself rather than its name: a result counts as random if
an operator of the call drew numbers from the random generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from compiler.network.recorder import DTYPES
from tests.opinfo.samples import Sample

UNINITIALISED = (
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided",
)  # fmt: skip
"""Allocations, whose values are whatever the memory held."""

BACKWARD = ("backward", "_softmax_backward_data")
"""Parts of the names of gradients, which are never in a graph traced for inference."""


@dataclass(frozen=True)
class Excluded:
    """Why a sample is no task for an inference engine."""

    reason: str


def eager(sample: Sample) -> list[torch.Tensor] | Excluded:
    """Eager torch's results for the sample, or why it is no task for an engine."""
    if not sample.tensors:
        return Excluded("no tensor inputs: nothing depends on a request")
    if any(word in sample.op for word in BACKWARD):
        return Excluded("gradient: training only")
    if sample.operator.endswith(".grad_oriented"):
        return Excluded("the same calls as the plain variant's, arranged to test gradients")
    if sample.operator in UNINITIALISED:
        return Excluded("uninitialised memory")
    refused = _foreign(sample.tensors, "inputs")
    if refused is not None:
        return refused
    inputs, drawn = sample.inputs(), _Drawn()
    try:
        with torch.no_grad(), drawn:
            result = sample.module(*inputs)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        return Excluded(f"eager torch raises {type(error).__name__}")
    if drawn.ops:
        return Excluded(f"random: {drawn.ops[0]} draws numbers")
    if not all(map(_same, inputs, sample.tensors)):
        return Excluded("writes into its inputs: state between calls")
    tensors = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]
    if not tensors:
        return Excluded("the result is a Python number, not a tensor")
    return _foreign(tensors, "results") or tensors


class _Drawn(TorchDispatchMode):
    """Records which operators draw numbers from the random generator."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        before = torch.get_rng_state()
        result = func(*args, **(kwargs or {}))
        if not torch.equal(before, torch.get_rng_state()):
            self.ops.append(str(func))
        return result


def _foreign(tensors: Any, what: str) -> Excluded | None:
    """Why a TensorRT tensor cannot hold a tensor, or None."""
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized:
            return Excluded(f"sparse or quantized {what}")
        if tensor.device.type != "cpu":
            return Excluded(f"{what} on a device that the call names")
        if tensor.is_complex():
            return Excluded(f"complex {what}")
        if tensor.dtype not in DTYPES:
            return Excluded(f"{what} of a dtype that TensorRT lacks")
    return None


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
