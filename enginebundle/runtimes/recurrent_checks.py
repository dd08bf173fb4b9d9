"""Recurrent operators: kernels take their weights' sizes on trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginebundle.runtimes.checking import Bound, Check, need

_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}


def _check(gates: int, bound: Bound) -> None:
    """RuntimeFailure unless all states and weights have the sizes that the first of them imply."""
    packed = "data" in bound
    source, layers, ways = (
        bound["data" if packed else "input"],
        bound["num_layers"],
        1 + bound["bidirectional"],
    )
    states = list(bound["hx"]) if isinstance(bound["hx"], list | tuple) else [bound["hx"]]
    need(not (bound["train"] and bound["dropout"]), "no dropout")
    need(len(states) == (2 if gates == 4 else 1), "the states of this operator")
    need(source.dim() == (2 if packed else 3), "a batch of sequences")
    need(all(state.dim() == 3 for state in states), "states of 3 dimensions")
    if packed:
        batch = _packed(source, bound["batch_sizes"], states[0])
    else:
        batch = source.shape[0 if bound["batch_first"] else 1]
    hidden = states[-1].shape[2]
    given = states[0].shape[2]
    projected = gates == 4 and given != hidden
    per_way = 2 + 2 * bound["has_biases"] + projected
    params = bound["params"]
    need(0 < layers <= 1000 and len(params) == layers * ways * per_way, "weights for every layer")
    need(
        all(s.shape[:2] == (layers * ways, batch) for s in states),
        "a state for every layer and sequence",
    )
    need(
        all(p.dtype == source.dtype and p.device == source.device for p in [*params, *states]),
        "one dtype",
    )
    for number in range(layers * ways):
        width = source.shape[-1] if number < ways else given * ways
        want = [(gates * hidden, width), (gates * hidden, given)]
        want += [(gates * hidden,)] * 2 * bound["has_biases"] + [(given, hidden)] * projected
        got = [tuple(p.shape) for p in params[number * per_way : (number + 1) * per_way]]
        need(got == want, f"weights of the sizes {want}")


def _packed(source: Any, sizes: Any, state: Any) -> int:
    need(
        sizes.dim() == 1 and sizes.numel() > 0 and sizes.device.type in ("cpu", "meta"),
        "batch sizes",
    )
    if sizes.is_meta:
        return int(state.shape[1])
    numbers = [int(size) for size in sizes]
    need(min(numbers) > 0 and numbers == sorted(numbers, reverse=True), "batch sizes that fall")
    need(sum(numbers) == source.shape[0], "batch sizes that sum up to the rows")
    return numbers[0]


def _row(gates: int) -> Check:
    return lambda bound: _check(gates, bound)


RECURRENT: Mapping[str, Check] = {
    f"aten.{name}.{form}": _row(gates)
    for name, gates in _GATES.items()
    for form in ("input", "data")
}
"""By operator."""
