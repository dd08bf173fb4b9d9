"""What a kind of layer is: one class, the only place that describes it.

    class Softmax(Kind):
        name = "softmax"                the kind's name, and that of the method converters call
        role = Role.REDUCTION           how TensorRT-RTX fuses such a layer

        def write(net, x, axis)         called by converters: raises NetworkError for what TensorRT
                                        would refuse, else adds the layer with `net.record`, which
                                        takes the kind, the inputs, the attributes, and the dtype
                                        and shape of each result
        def emit(e, layer, a)           adds the layer to TensorRT's INetworkDefinition
        def evaluate(a, x)              computes the results with torch, as TensorRT defines them

All three are static methods. `net` is the recorder (recorder.py) of the network being written. `e` is
the Emitter (emit.py): `e.net` is the INetworkDefinition, `e.tensor(t)` the ITensor of a layer's input.
`a` holds the attributes that `write` recorded. `evaluate` gets the layer's inputs in order.

If the oldest supported TensorRT lacks the layer, `needs` names the missing method of
INetworkDefinition, and `older` writes the same computation with other layers.

To add a kind:

1. Write its class in the file of its family in kinds/, and add the class to that file's KINDS.
2. Add `softmax = method(Softmax.write)` to the recorder class at the end of that file. Converters
   can then call `net.softmax(x, axis)`. The method must have the kind's name.
3. Add a small network that contains the layer to tests/compiler/network/cases.py. It is evaluated
   and built on any machine; on a GPU, its engine's results are compared with the evaluator's.

A new family is a new file like the others, listed in kinds/__init__.py in both _FAMILIES and the
bases of Layers. Nothing else in the compiler needs to know of a kind.
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
    """How TensorRT-RTX fuses a layer; network/reads.py uses it."""

    POINTWISE = "pointwise"
    """Each element of the result comes from the same element of each operand, broadcast."""
    MOVE = "move"
    """The result holds elements of its data operands, at other places."""
    REDUCTION = "reduction"
    """Each element of the result comes from many elements."""
    OPAQUE = "opaque"
    """Computed by a kernel of its own."""


class Kind:
    """One kind of layer, named after TensorRT's `INetworkDefinition.add_*`."""

    name: ClassVar[str]
    role: ClassVar[Role] = Role.OPAQUE
    write: ClassVar[Callable[..., Any]]
    """(net, ...) -> the results. Raises NetworkError if TensorRT would refuse the layer."""
    emit: ClassVar[Callable[..., Any]]
    """(emitter, layer, attributes) -> TensorRT's layer, or None if TensorRT refused it."""
    evaluate: ClassVar[Callable[..., Sequence[Value]]]
    """(attributes, *values) -> the results. A layer's absent inputs are None."""
    needs: ClassVar[str] = ""
    """The method of INetworkDefinition that the oldest supported TensorRT lacks, if there is one."""
    older: ClassVar[Callable[..., Sequence[Any]]]
    """(net, attributes, *inputs) -> the results, from layers that do not need `needs`."""


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
    """Sizes that a layer gets as an attribute or, if that is None, as an input."""
    if static is not None:
        return list(static)
    assert tensor is not None
    return [int(n) for n in tensor]


class EvaluationError(Exception):
    """A layer read outside its input, torch can't compute it, or its result differs from the declared dtype or
    shape. `node` is the one that the layer was written for."""

    def __init__(self, message: str, node: str = "") -> None:
        super().__init__(message)
        self.node = node
