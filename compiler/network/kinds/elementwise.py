"""Kinds that compute each element on its own: identity, cast, unary, activation, elementwise, select."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide, method, wide
from compiler.network.kinds.shapes import same_rank
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import DTYPES, FLOATS, Recorder, broadcast, expect

COMPARISONS = frozenset({"EQUAL", "GREATER", "LESS"})
LOGICAL = frozenset({"AND", "OR", "XOR"})

UNARY: dict[str, Callable[[Value], Value]] = {
    "EXP": torch.exp, "LOG": torch.log, "SQRT": torch.sqrt, "RECIP": torch.reciprocal,
    "ABS": torch.abs, "NEG": torch.neg, "SIN": torch.sin, "COS": torch.cos, "TAN": torch.tan,
    "SINH": torch.sinh, "COSH": torch.cosh, "ASIN": torch.asin, "ACOS": torch.acos,
    "ATAN": torch.atan, "ASINH": torch.asinh, "ACOSH": torch.acosh, "ATANH": torch.atanh,
    "CEIL": torch.ceil, "FLOOR": torch.floor, "ERF": torch.erf, "NOT": torch.logical_not,
    "SIGN": torch.sign, "ROUND": torch.round, "ISINF": torch.isinf, "ISNAN": torch.isnan,
}  # fmt: skip
"""Members of UnaryOperation."""

ACTIVATIONS: dict[str, Callable[[Value, float, float], Value]] = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: F.leaky_relu(x, a),
    "ELU": lambda x, a, b: F.elu(x, a),
    "SELU": lambda x, a, b: b * torch.where(x > 0, x, a * torch.expm1(x)),
    "SOFTSIGN": lambda x, a, b: F.softsign(x),
    "SOFTPLUS": lambda x, a, b: a * torch.logaddexp(b * x, torch.zeros(())),
    "CLIP": lambda x, a, b: torch.where(x.isnan(), a, x.clamp(a, b)),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, torch.zeros(())),
    "GELU_ERF": lambda x, a, b: F.gelu(x),
    "GELU_TANH": lambda x, a, b: F.gelu(x, approximate="tanh"),
}
"""Members of ActivationType, with alpha and beta."""

ELEMENTWISE: dict[str, Callable[[Value, Value], Value]] = {
    "SUM": torch.add, "PROD": torch.mul,
    # As engines do: a NaN in the first operand is kept, one in the second ignored.
    "MAX": lambda a, b: torch.where(a < b, b, a), "MIN": lambda a, b: torch.where(a > b, b, a),
    "SUB": torch.sub, "POW": torch.pow, "AND": torch.logical_and, "OR": torch.logical_or,
    "XOR": torch.logical_xor, "EQUAL": torch.eq, "GREATER": torch.gt, "LESS": torch.lt,
    "FLOOR_DIV": torch.floor_divide,
    "DIV": lambda a, b: a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
}  # fmt: skip
"""Members of ElementWiseOperation."""


class Identity(Kind):
    """IIdentityLayer: what `Recorder.finish` gives an output that has no tensor of its own."""

    name = "identity"
    role = Role.POINTWISE

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_identity(e.tensor(layer.inputs[0]))

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        return [x.clone()]


class Cast(Kind):
    """ICastLayer."""

    name = "cast"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, x: Tensor, dtype: torch.dtype) -> Tensor:
        """ICastLayer: torch's conversion rules, except that out-of-range floats saturate."""
        if x.dtype == dtype:
            return x
        expect(dtype in DTYPES, f"cast to {dtype}: TensorRT has no such type")
        return net.record(Cast, (x,), {"dtype": dtype}, [(dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_cast(e.tensor(layer.inputs[0]), e.dtype(a["dtype"]))

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        dtype = a["dtype"]
        if not x.is_floating_point() or dtype not in (torch.int32, torch.int64):
            return [x.to(dtype)]
        # Engines saturate; in C++ and torch the result is undefined.
        limits = torch.iinfo(dtype)
        nan = 0 if dtype == torch.int32 else limits.min
        exact = x.double()
        whole = exact.nan_to_num(0.0).clamp(-(2.0**62), 2.0**62).to(torch.int64)
        bounded = whole.clamp(limits.min, limits.max)
        bounded = torch.where(exact >= -float(limits.min), limits.max, bounded)
        bounded = torch.where(exact <= float(limits.min), limits.min, bounded)
        return [torch.where(exact.isnan(), nan, bounded).to(dtype)]


class Unary(Kind):
    """IUnaryLayer."""

    name = "unary"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, x: Tensor, op: str) -> Tensor:
        """IUnaryLayer; `op` is a member of UnaryOperation."""
        if op == "NOT":
            expect(x.dtype == torch.bool, f"unary NOT wants bool, got {x.dtype}")
        dtype = torch.bool if op in ("ISINF", "ISNAN") else x.dtype
        return net.record(Unary, (x,), {"op": op}, [(dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_unary(e.tensor(layer.inputs[0]), getattr(e.trt.UnaryOperation, a["op"]))

    @staticmethod
    def evaluate(a: Attributes, x: Value) -> list[Value]:
        result = UNARY[a["op"]](*wide(x))
        return [result if result.dtype == torch.bool else result.to(x.dtype)]


class Activation(Kind):
    """IActivationLayer."""

    name = "activation"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, x: Tensor, op: str, alpha: float = 0.0, beta: float = 0.0) -> Tensor:
        """IActivationLayer; alpha and beta as TensorRT defines them for `op`."""
        expect(x.dtype in FLOATS or op == "RELU", f"activation {op} wants floats, got {x.dtype}")
        if x.dtype not in FLOATS:  # TensorRT 10.6 has none on integers
            zero = net.constant(torch.zeros((), dtype=x.dtype))
            return Elementwise.write(net, x, zero, "MAX")
        attributes = {"op": op, "alpha": float(alpha), "beta": float(beta)}
        return net.record(Activation, (x,), attributes, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        kind = getattr(e.trt.ActivationType, a["op"])
        added = e.net.add_activation(e.tensor(layer.inputs[0]), kind)
        added.alpha, added.beta = a["alpha"], a["beta"]
        return added

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, x: Value) -> Value:
        return ACTIVATIONS[a["op"]](x, a["alpha"], a["beta"])


class Elementwise(Kind):
    """IElementWiseLayer."""

    name = "elementwise"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, a: Tensor, b: Tensor, op: str) -> Tensor:
        """IElementWiseLayer on two tensors of one dtype; lower ranks get leading ones."""
        expect(a.dtype == b.dtype, f"elementwise {op}: dtypes {a.dtype} and {b.dtype} differ")
        logical = op in LOGICAL
        expect(
            logical == (a.dtype == torch.bool) or op == "EQUAL", f"elementwise {op} on {a.dtype}"
        )
        if op == "POW" and a.dtype not in FLOATS:  # in float32, as TensorRT 11 computes it
            base, exponent = (Cast.write(net, x, torch.float32) for x in (a, b))
            return Cast.write(net, Elementwise.write(net, base, exponent, op), a.dtype)
        a, b = same_rank(net, a, b)
        dtype = torch.bool if op in COMPARISONS or logical else a.dtype
        shape = broadcast(a.shape, b.shape)
        return net.record(Elementwise, (a, b), {"op": op}, [(dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        left, right = (e.tensor(t) for t in layer.inputs)
        return e.net.add_elementwise(left, right, getattr(e.trt.ElementWiseOperation, a["op"]))

    @staticmethod
    def evaluate(a: Attributes, left: Value, right: Value) -> list[Value]:
        result = ELEMENTWISE[a["op"]](*wide(left, right))
        return [result if result.dtype == torch.bool else result.to(left.dtype)]


class Select(Kind):
    """ISelectLayer."""

    name = "select"
    role = Role.POINTWISE

    @staticmethod
    def write(net: Recorder, condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
        """ISelectLayer: `then` where the bool condition holds, all three broadcast."""
        expect(
            condition.dtype == torch.bool, f"select wants a bool condition, got {condition.dtype}"
        )
        expect(then.dtype == otherwise.dtype, f"select: {then.dtype} and {otherwise.dtype} differ")
        tensors = same_rank(net, condition, then, otherwise)
        shape = broadcast(*(t.shape for t in tensors))
        return net.record(Select, tensors, {}, [(then.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_select(*(e.tensor(t) for t in layer.inputs))

    @staticmethod
    def evaluate(a: Attributes, condition: Value, then: Value, otherwise: Value) -> list[Value]:
        return [torch.where(condition, then, otherwise)]


KINDS: tuple[type[Kind], ...] = (Identity, Cast, Unary, Activation, Elementwise, Select)


class Pointwise(Recorder):
    """These kinds as methods."""

    identity = Identity
    cast = method(Cast.write)
    unary = method(Unary.write)
    activation = method(Activation.write)
    elementwise = method(Elementwise.write)
    select = method(Select.write)
