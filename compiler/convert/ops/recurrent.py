"""Recurrent layers: a loop over the steps, whose number may be dynamic.

The products of the inputs are one product for all steps, outside of the loop; each step is one product
of the state and a few elementwise layers. A turn of the loop takes a step in each direction.

Layers behind each other, in one direction, over a dynamic number of steps are one loop, whose turn takes a
step of each: full TensorRT 10.6 gets a loop behind a loop wrong there (compiler/network/chained_scans.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from compiler.convert.idioms.products import product
from compiler.convert.net import Net
from compiler.convert.registry import FLOATS, Support, Table
from compiler.network.network import Tensor
from enginebundle.format.graph import Value

TABLE = Table("recurrent")
SUPPORT = Support(dtypes=FLOATS)


@dataclass(frozen=True)
class Weights:
    """One direction of one layer: weights [gates * hidden, features], biases, and a projection."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    projection: Tensor | None

    def read_by_steps(self) -> list[Tensor]:
        """What each step reads, as opposed to the product of all inputs."""
        return [t for t in (self.hidden, self.hidden_bias, self.projection) if t is not None]

    def replaced(self, tensors: Iterator[Tensor]) -> Weights:
        """With the next of these tensors for each that `read_by_steps` lists."""
        return replace(
            self,
            hidden=next(tensors),
            hidden_bias=self.hidden_bias and next(tensors),
            projection=self.projection and next(tensors),
        )


State = tuple[Tensor, ...]
Step = Callable[[Net, Tensor, State, Weights], State]
"""(net, the step's input product [b, gates * hidden], state, weights) -> the next state."""


def _check(input: Value, train: bool, dropout: float) -> str | None:
    if len(input.shape) != 3:
        return f"expected a batched input of rank 3, got {len(input.shape)}"
    if train and dropout:
        return (
            f"expected no dropout at inference, got {dropout}; export the model after model.eval()"
        )
    return None


@TABLE.converter("aten.lstm.input", support=SUPPORT, check=_check)
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


@TABLE.converter("aten.gru.input", support=SUPPORT, check=_check)
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


TABLE.row("aten.rnn_tanh.input", _elman("TANH"), SUPPORT, _check)
TABLE.row("aten.rnn_relu.input", _elman("RELU"), SUPPORT, _check)

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
    """Equal parts of the last dim. Slices would compute a dynamic batch's size again at every step."""
    parts = net.reshape(x, [-1, count, (x.shape[1] or 0) // count])
    return [net.gather(parts, net.scalar(i, torch.int64), 1) for i in range(count)]


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
    count = net.tensor(net.size(x, 0), torch.int64)
    directions = 2 if bidirectional else 1
    final: list[State] = []
    if directions == 1 and len(weights) > 1 and x.shape[0] is None:
        first = [tuple(_row(net, s, n) for s in states) for n in range(len(weights))]
        x, final = _stack(net, x, count, first, weights, step)
    else:
        for start in range(0, len(weights), directions):
            these = weights[start : start + directions]
            first = [tuple(_row(net, s, start + d) for s in states) for d in range(directions)]
            inputs = [_input_product(net, x, w) for w in these]
            outputs, last = _run(net, inputs, count, first, these, step)
            x = net.concat(outputs, 2)
            final += last
    stacked = [
        net.concat([net.unsqueeze(last[kind], [0]) for last in final], 0)
        for kind in range(len(states))
    ]
    return (net.transpose(x, [1, 0, 2]) if batch_first else x), stacked


def _input_product(net: Net, x: Tensor, weights: Weights) -> Tensor:
    """x [..., features] to [..., gates * hidden]."""
    made = product(net, x, weights.input, transpose_b=True)
    return made if weights.input_bias is None else net.add(made, weights.input_bias)


def _run(
    net: Net, inputs: Sequence[Tensor], count: Tensor, first: Sequence[State],
    weights: Sequence[Weights], step: Step,
) -> tuple[Sequence[Tensor], list[State]]:  # fmt: skip
    """For each direction of a layer, the second backward: its output [steps, b, hidden] and last state."""
    kinds = len(first[0])

    def turn(
        net: Net, rows: Sequence[Tensor], state: Sequence[Tensor], reads: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[tuple[Tensor, bool]]]:
        read = iter(reads)
        made = [
            step(net, row, tuple(state[d * kinds : (d + 1) * kinds]), w.replaced(read))
            for d, (row, w) in enumerate(zip(rows, weights, strict=True))
        ]
        return [s for one in made for s in one], [(one[0], d == 1) for d, one in enumerate(made)]

    state = [s for one in first for s in one]
    reads = [t for w in weights for t in w.read_by_steps()]
    if inputs[0].shape[0] == 1:
        last, kept = turn(net, [net.squeeze(x, [0]) for x in inputs], state, reads)
        outputs = [net.unsqueeze(x, [0]) for x, _ in kept]
    else:
        rows = [(x, d == 1) for d, x in enumerate(inputs)]
        last, outputs = net.scan(rows, count, state, reads, turn)
    return outputs, [tuple(last[d * kinds : (d + 1) * kinds]) for d in range(len(weights))]


def _stack(
    net: Net, x: Tensor, count: Tensor, first: Sequence[State], weights: Sequence[Weights],
    step: Step,
) -> tuple[Tensor, list[State]]:  # fmt: skip
    """Layers behind each other in one loop: the last one's output [steps, b, hidden], and each one's last
    state."""
    kinds = len(first[0])

    def turn(
        net: Net, rows: Sequence[Tensor], state: Sequence[Tensor], reads: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[tuple[Tensor, bool]]]:
        read = iter(reads)
        row = rows[0]
        new: list[Tensor] = []
        for n, w in enumerate(weights):
            if n:
                w = replace(w, input=next(read), input_bias=w.input_bias and next(read))
                row = _input_product(net, row, w)
            made = step(net, row, tuple(state[n * kinds : (n + 1) * kinds]), w.replaced(read))
            new += made
            row = made[0]
        return new, [(row, False)]

    reads = weights[0].read_by_steps()
    for w in weights[1:]:
        reads += [t for t in (w.input, w.input_bias) if t is not None] + w.read_by_steps()
    rows = [(_input_product(net, x, weights[0]), False)]
    last, (output,) = net.scan(rows, count, [s for one in first for s in one], reads, turn)
    return output, [tuple(last[n * kinds : (n + 1) * kinds]) for n in range(len(weights))]


def _row(net: Net, x: Tensor, index: int) -> Tensor:
    return net.gather(x, net.scalar(index, torch.int64), 0)
