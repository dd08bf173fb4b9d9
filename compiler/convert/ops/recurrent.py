"""Recurrent layers, unrolled over a static number of steps.

The products of the inputs are one product for all steps; each step is one product of the state and
a few elementwise layers. TensorRT's loop layer would allow dynamic lengths, but runs every step
separately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from compiler.convert.idioms.products import product
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("recurrent")
SUPPORT = Support(dtypes=FLOATS)

STEPS = 256
"""The most steps; longer sequences make networks that take minutes to build."""


@dataclass(frozen=True)
class Weights:
    """One direction of one layer: weights [gates * hidden, features], biases, and a projection."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    projection: Tensor | None


State = tuple[Tensor, ...]
Step = Callable[[Net, Tensor, State, Weights], State]
"""(net, the step's input product [b, gates * hidden], state, weights) -> the next state."""


def _steps(input: Value, batch_first: bool, train: bool, dropout: float) -> str | None:
    if len(input.shape) != 3:
        return f"expected a batched input of rank 3, got {len(input.shape)}"
    steps = input.shape[1 if batch_first else 0]
    if isinstance(steps, str) or steps > STEPS:
        return (
            f"expected a static number of steps of at most {STEPS} (they are unrolled), got {steps}"
        )
    if train and dropout:
        return (
            f"expected no dropout at inference, got {dropout}; export the model after model.eval()"
        )
    return None


@TABLE.converter("aten.lstm.input", support=SUPPORT, check=_steps)
def lstm(
    net: Net, input: Tensor, hx: Sequence[Tensor], params: Sequence[Tensor], has_biases: bool,
    num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Long short-term memory, with projections if the parameters include them."""
    each = len(params) // (num_layers * (2 if bidirectional else 1))
    projected = each in (3, 5)
    output, (hidden, cell) = _layers(
        net, input, list(hx), _weights(params, has_biases, projected), bidirectional, batch_first, _lstm_step
    )  # fmt: skip
    return output, hidden, cell


@TABLE.converter("aten.gru.input", support=SUPPORT, check=_steps)
def gru(
    net: Net, input: Tensor, hx: Tensor, params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gated recurrent units."""
    weights = _weights(params, has_biases, False)
    output, (hidden,) = _layers(net, input, [hx], weights, bidirectional, batch_first, _gru_step)
    return output, hidden


def _elman(activation: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def step(net: Net, x: Tensor, state: State, weights: Weights) -> State:
        return (net.activation(net.add(x, _hidden_product(net, state[0], weights)), activation),)

    def convert(
        net: Net, input: Tensor, hx: Tensor, params: Sequence[Tensor], has_biases: bool, num_layers: int,
        dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        weights = _weights(params, has_biases, False)
        output, (hidden,) = _layers(net, input, [hx], weights, bidirectional, batch_first, step)
        return output, hidden

    return convert


TABLE.row("aten.rnn_tanh.input", _elman("TANH"), SUPPORT, _steps)
TABLE.row("aten.rnn_relu.input", _elman("RELU"), SUPPORT, _steps)

# -- one step --------------------------------------------------------------------------------


def _lstm_step(net: Net, x: Tensor, state: State, weights: Weights) -> State:
    hidden, cell = state
    gates = net.add(x, _hidden_product(net, hidden, weights))
    entry, forget, fresh, exit_ = _parts(net, gates, 4)
    kept = net.mul(net.activation(forget, "SIGMOID"), cell)
    added = net.mul(net.activation(entry, "SIGMOID"), net.activation(fresh, "TANH"))
    cell = net.add(kept, added)
    hidden = net.mul(net.activation(exit_, "SIGMOID"), net.activation(cell, "TANH"))
    if weights.projection is not None:
        hidden = product(net, hidden, weights.projection, transpose_b=True)
    return hidden, cell


def _gru_step(net: Net, x: Tensor, state: State, weights: Weights) -> State:
    (hidden,) = state
    reset, update, fresh = _parts(net, x, 3)
    old_reset, old_update, old_fresh = _parts(net, _hidden_product(net, hidden, weights), 3)
    reset = net.activation(net.add(reset, old_reset), "SIGMOID")
    update = net.activation(net.add(update, old_update), "SIGMOID")
    fresh = net.activation(net.add(fresh, net.mul(reset, old_fresh)), "TANH")
    return (net.add(fresh, net.mul(update, net.sub(hidden, fresh))),)


def _hidden_product(net: Net, hidden: Tensor, weights: Weights) -> Tensor:
    made = product(net, hidden, weights.hidden, transpose_b=True)
    return made if weights.hidden_bias is None else net.add(made, weights.hidden_bias)


def _parts(net: Net, x: Tensor, count: int) -> list[Tensor]:
    """Equal parts of the last dim."""
    size = (x.shape[1] or 0) // count
    return [net.narrow(x, 1, i * size, size) for i in range(count)]


# -- all steps, directions and layers ----------------------------------------------------------


def _weights(params: Sequence[Tensor], biases: bool, projected: bool) -> list[Weights]:
    """The flat list of parameters in torch's order, grouped by layer and direction."""
    each = 2 + (2 if biases else 0) + (1 if projected else 0)
    groups = [list(params[i : i + each]) for i in range(0, len(params), each)]
    return [
        Weights(
            group[0], group[1], group[2] if biases else None, group[3] if biases else None,
            group[-1] if projected else None,
        )
        for group in groups
    ]  # fmt: skip


def _layers(
    net: Net, x: Tensor, states: Sequence[Tensor], weights: Sequence[Weights], bidirectional: bool,
    batch_first: bool, step: Step,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """The output of the last layer and, for each kind of state, all final states stacked."""
    x = net.transpose(x, [1, 0, 2]) if batch_first else x
    directions = 2 if bidirectional else 1
    final: list[State] = []
    for layer in range(len(weights) // directions):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            first = tuple(_row(net, s, index) for s in states)
            made, last = _run(net, x, first, weights[index], step, backward=direction == 1)
            outputs.append(made)
            final.append(last)
        x = net.concat(outputs, 2)
    stacked = [
        net.concat([net.unsqueeze(last[kind], [0]) for last in final], 0)
        for kind in range(len(states))
    ]
    return (net.transpose(x, [1, 0, 2]) if batch_first else x), stacked


def _run(
    net: Net, x: Tensor, state: State, weights: Weights, step: Step, backward: bool
) -> tuple[Tensor, State]:
    """x [steps, b, features] to [steps, b, hidden] and the last state."""
    inputs = product(net, x, weights.input, transpose_b=True)
    if weights.input_bias is not None:
        inputs = net.add(inputs, weights.input_bias)
    count = x.shape[0] or 0
    rows: dict[int, Tensor] = {}
    for t in reversed(range(count)) if backward else range(count):
        state = step(net, _row(net, inputs, t), state, weights)
        rows[t] = net.unsqueeze(state[0], [0])
    return net.concat([rows[t] for t in range(count)], 0), state


def _row(net: Net, x: Tensor, index: int) -> Tensor:
    return net.gather(x, net.scalar(index, torch.int64), 0)
