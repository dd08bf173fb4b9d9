"""What a kind of layer is: one class, the only place that describes it.

    class Softmax(Kind):
        name = "softmax"
        role = Role.REDUCTION

        def write(net, x, axis)         what a converter calls: checks, then adds the layer with the
                                        dtypes and sizes of its results
        def emit(e, layer, a)           adds it to TensorRT's INetworkDefinition
        def evaluate(a, x)              computes it with torch, by TensorRT's definition

All three are static. A kind whose layer is newer than the oldest supported TensorRT names the method
that it `needs`, and in `older` the layers that say the same without it.

A file of kinds/ holds a family: its kinds, their tuple KINDS, and a class that makes each `write` a
method of the network being written. To add a kind, add its class, its line in that tuple and that
class, and a case in tests/compiler/network/cases.py.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

Attributes = Mapping[str, Any]
"""A layer's attributes by name."""
Value = torch.Tensor
"""A tensor of the evaluator: one that holds numbers."""


class Role(enum.Enum):
    """What TensorRT-RTX fuses a layer as (network/reads.py needs to know)."""

    POINTWISE = "pointwise"
    """Each element of the result comes from the same element of each operand, broadcast."""
    MOVE = "move"
    """The result holds elements of the first operand, elsewhere."""
    REDUCTION = "reduction"
    """Each element of the result comes from many elements."""
    OPAQUE = "opaque"
    """Computed by a kernel of its own."""


class Kind:
    """One kind of layer, named after TensorRT's `INetworkDefinition.add_*`."""

    name: ClassVar[str]
    role: ClassVar[Role] = Role.OPAQUE
    write: ClassVar[Callable[..., Any]]
    """(net, ...) -> the results. Raises NetworkError where TensorRT would refuse the layer."""
    emit: ClassVar[Callable[..., Any]]
    """(emitter, layer, attributes) -> TensorRT's layer, or None where TensorRT refused it."""
    evaluate: ClassVar[Callable[..., Sequence[Value]]]
    """(attributes, *values) -> the results. A layer's absent inputs are None."""
    needs: ClassVar[str] = ""
    """The method of INetworkDefinition that the oldest supported TensorRT lacks, if there is one."""
    older: ClassVar[Callable[..., Sequence[Any]]]
    """(net, attributes, *inputs) -> the results, by layers that do without `needs`."""


def method(write: Callable[P, R]) -> Callable[P, R]:
    """A kind's `write` as a method of the recorder, which becomes its first argument."""
    return write


def accumulated_wide(function: Callable[..., Value]) -> Callable[..., list[Value]]:
    """An `evaluate` with one result: computed in float32 at least, rounded to the first input's dtype."""

    @functools.wraps(function)
    def evaluate(a: Attributes, *inputs: Value | None) -> list[Value]:
        first = inputs[0]
        assert first is not None
        return [function(a, *wide(*inputs)).to(first.dtype)]

    return evaluate


def wide(*tensors: Value | None) -> list[Any]:
    """float16 and bfloat16 as float32: engines accumulate wider than they store."""
    narrow = (torch.float16, torch.bfloat16)
    return [t.float() if t is not None and t.dtype in narrow else t for t in tensors]


def sizes_of(static: Sequence[int] | None, tensor: Value | None) -> list[int]:
    """Sizes that a layer has as an attribute or, if that is None, as an input."""
    if static is not None:
        return list(static)
    assert tensor is not None
    return [int(n) for n in tensor]


class EvaluationError(Exception):
    """A layer read outside its input, or gave another dtype or shape than it declared."""
