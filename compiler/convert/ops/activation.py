"""Activation functions."""

from __future__ import annotations

import torch

from compiler.convert.idioms.numeric import (
    as_float,
    clamp,
    constant,
    expm1,
    greater,
    less,
    less_equal,
    log1p,
    widened,
)
from compiler.convert.net import Net, Scalar
from compiler.convert.registry import FLOATS, NUMBERS, Support, Table
from compiler.network.network import Tensor

TABLE = Table("activation")

_FLOATS = Support(dtypes=FLOATS)
_NUMBERS = Support(dtypes=NUMBERS)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _above(net: Net, x: Tensor, bound: Scalar) -> Tensor:
    return greater(net, x, constant(net, bound, x))


# -- one layer -----------------------------------------------------------------------------


@TABLE.converter("aten.relu.default", support=_NUMBERS)
def relu(net: Net, self: Tensor) -> Tensor:
    return net.activation(self, "RELU")


@TABLE.converter("aten.sigmoid.default", "aten.special_expit.default")
def sigmoid(net: Net, self: Tensor) -> Tensor:
    return net.activation(as_float(net, self), "SIGMOID")


@TABLE.converter("aten.tanh.default")
def tanh(net: Net, self: Tensor) -> Tensor:
    return net.activation(as_float(net, self), "TANH")


@TABLE.converter("aten.gelu.default", support=_FLOATS)
def gelu(net: Net, self: Tensor, approximate: str) -> Tensor:
    op = "GELU_TANH" if approximate == "tanh" else "GELU_ERF"
    if self.dtype == torch.bfloat16:  # 1 + erf would cancel in 8 bits
        return widened(net, lambda x: net.activation(x, op), self)
    return net.activation(self, op)


@TABLE.converter("aten.leaky_relu.default", support=_FLOATS)
def leaky_relu(net: Net, self: Tensor, negative_slope: float) -> Tensor:
    return net.activation(self, "LEAKY_RELU", alpha=negative_slope)


@TABLE.converter("aten.hardsigmoid.default", support=_FLOATS)
def hardsigmoid(net: Net, self: Tensor) -> Tensor:
    # TensorRT's own layer makes 0 of NaN.
    return widened(net, lambda x: clamp(net, net.add(net.mul(x, 1 / 6), 0.5), 0, 1), self)


# -- piecewise linear -------------------------------------------------------------------------


@TABLE.converter("aten.relu6.default", support=_NUMBERS)
def relu6(net: Net, self: Tensor) -> Tensor:
    return clamp(net, self, 0, 6)


@TABLE.converter("aten.hardtanh.default", support=_NUMBERS)
def hardtanh(net: Net, self: Tensor, min_val: Scalar, max_val: Scalar) -> Tensor:
    return clamp(net, self, min_val, max_val)


@TABLE.converter("aten.threshold.default", support=_NUMBERS)
def threshold(net: Net, self: Tensor, threshold: Scalar, value: Scalar) -> Tensor:
    below = less_equal(net, self, constant(net, threshold, self))
    return net.select(below, constant(net, value, self), self)


@TABLE.converter("aten.hardshrink.default", support=_FLOATS)
def hardshrink(net: Net, self: Tensor, lambd: Scalar) -> Tensor:
    size = net.unary(self, "ABS")
    inside = less_equal(net, size, constant(net, lambd, self))
    return net.select(inside, constant(net, 0, self), self)


@TABLE.converter("aten.softshrink.default", support=_FLOATS)
def softshrink(net: Net, self: Tensor, lambd: Scalar) -> Tensor:
    """Moved towards zero by lambd, zero between -lambd and lambd; NaN stays NaN."""
    zero = net.mul(self, 0.0)
    low = less(net, self, constant(net, -lambd, self))
    rest = net.select(low, net.add(self, lambd), zero)
    return net.select(_above(net, self, lambd), net.sub(self, lambd), rest)


@TABLE.converter("aten.prelu.default", "aten._prelu_kernel.default", support=_FLOATS)
def prelu(net: Net, self: Tensor, weight: Tensor) -> Tensor:
    """One slope for all, or one per channel (dimension 1)."""
    if weight.ndim == 1 and self.ndim > 1 and weight.shape[0] != 1:
        weight = net.unsqueeze(weight, [0, *range(2, self.ndim)])
    if weight.ndim > self.ndim:
        weight = net.reshape(weight, [1] * self.ndim)
    return net.select(_above(net, self, 0), self, net.mul(self, weight))


# -- exponential ---------------------------------------------------------------------------


@TABLE.converter("aten.silu.default", support=_FLOATS)
def silu(net: Net, self: Tensor) -> Tensor:
    return net.mul(self, net.activation(self, "SIGMOID"))


@TABLE.converter("aten.hardswish.default", support=_FLOATS)
def hardswish(net: Net, self: Tensor) -> Tensor:
    return net.mul(self, net.activation(self, "HARD_SIGMOID", 1 / 6, 0.5))


def _elu(net: Net, self: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    def formula(x: Tensor) -> Tensor:
        below = net.mul(expm1(net, net.mul(x, input_scale)), scale * alpha)
        return net.select(_above(net, x, 0), net.mul(x, scale), below)

    return widened(net, formula, self)


@TABLE.converter("aten.elu.default", support=_FLOATS)
def elu(net: Net, self: Tensor, alpha: Scalar, scale: Scalar, input_scale: Scalar) -> Tensor:
    if input_scale == 1 and scale == 1:
        return widened(net, lambda x: net.activation(x, "ELU", alpha), self)
    if input_scale == 1 and alpha > 0:
        return widened(net, lambda x: net.activation(x, "SELU", alpha, scale), self)
    return _elu(net, self, alpha, scale, input_scale)


@TABLE.converter("aten.selu.default", support=_FLOATS)
def selu(net: Net, self: Tensor) -> Tensor:
    return widened(net, lambda x: net.activation(x, "SELU", SELU_ALPHA, SELU_SCALE), self)


@TABLE.converter("aten.celu.default", support=_FLOATS)
def celu(net: Net, self: Tensor, alpha: Scalar) -> Tensor:
    return _elu(net, self, alpha, 1.0, 1.0 / alpha)


def _softplus(net: Net, x: Tensor) -> Tensor:
    """log(1 + exp(x)) of float32 without overflow: max(x, 0) + log1p(exp(-|x|))."""
    decay = net.unary(net.unary(net.unary(x, "ABS"), "NEG"), "EXP")
    return net.add(net.activation(x, "RELU"), log1p(net, decay))


@TABLE.converter("aten.softplus.default", support=_FLOATS)
def softplus(net: Net, self: Tensor, beta: Scalar, threshold: Scalar) -> Tensor:
    def formula(x: Tensor) -> Tensor:
        scaled = net.mul(x, float(beta))
        curve = net.div(_softplus(net, scaled), float(beta))
        return net.select(_above(net, scaled, threshold), x, curve)

    return widened(net, formula, self)


@TABLE.converter("aten.mish.default", support=_FLOATS)
def mish(net: Net, self: Tensor) -> Tensor:
    return widened(net, lambda x: net.mul(x, net.activation(_softplus(net, x), "TANH")), self)


def _log_sigmoid(net: Net, self: Tensor) -> Tensor:
    return widened(net, lambda x: net.unary(_softplus(net, net.unary(x, "NEG")), "NEG"), self)


@TABLE.converter("aten.log_sigmoid.default", support=_FLOATS)
def log_sigmoid(net: Net, self: Tensor) -> Tensor:
    return _log_sigmoid(net, self)


@TABLE.converter("aten.log_sigmoid_forward.default", support=_FLOATS)
def log_sigmoid_forward(net: Net, self: Tensor) -> tuple[Tensor, Tensor]:
    """The second result, exp(-|x|), serves the backward pass."""
    decay = net.unary(net.unary(net.unary(self, "ABS"), "NEG"), "EXP")
    return _log_sigmoid(net, self), decay


@TABLE.converter("aten.glu.default", support=_FLOATS)
def glu(net: Net, self: Tensor, dim: int) -> Tensor:
    axis = dim % self.ndim
    half = net.size_op("floordiv", net.size(self, axis), 2)
    gate = net.activation(net.narrow(self, axis, half, half), "SIGMOID")
    return net.mul(net.narrow(self, axis, 0, half), gate)


@TABLE.converter(
    "aten.rrelu.default", support=_FLOATS,
    check=lambda training: "expected training=False, got training=True" if training else None,
)  # fmt: skip
def rrelu(net: Net, self: Tensor, lower: Scalar, upper: Scalar, training: bool) -> Tensor:
    """At inference the slope is the mean of lower and upper."""
    return net.activation(self, "LEAKY_RELU", alpha=(lower + upper) / 2)


# -- dropout -------------------------------------------------------------------------------


def _dropout_check(p: float, train: bool | None) -> str | None:
    # In torch, train=None means training.
    if train is False or p in (0, 1):
        return None
    return "expected evaluation mode, got training, which draws random numbers"


@TABLE.converter("aten.native_dropout.default", check=_dropout_check)
def native_dropout(net: Net, input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """The input unchanged and a mask of ones; if training drops everything, zeros for both."""
    sizes = net.sizes(input)
    if train is not False and p == 1:
        return net.full(sizes, 0, input.dtype), net.full(sizes, False, torch.bool)
    return input, net.full(sizes, True, torch.bool)
