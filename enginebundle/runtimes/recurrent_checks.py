"""Recurrent operators: kernels take their weights' sizes on trust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from enginebundle.errors import RuntimeFailure

_GATES = {"lstm": 4, "gru": 3, "rnn_relu": 1, "rnn_tanh": 1}


def _check(gates: int, bound: Mapping[str, Any]) -> None:
    """RuntimeFailure unless all states and weights have the sizes that the first of them imply."""
    packed = "data" in bound
    source, layers, ways = bound["data" if packed else "input"], bound["num_layers"], 1 + bound["bidirectional"]
    states = list(bound["hx"]) if isinstance(bound["hx"], list | tuple) else [bound["hx"]]
    _need(not (bound["train"] and bound["dropout"]), "no dropout")
    _need(len(states) == (2 if gates == 4 else 1), "the states of this operator")
    _need(source.dim() == (2 if packed else 3), "a batch of sequences")
    _need(all(state.dim() == 3 for state in states), "states of 3 dimensions")
    if packed:
        batch = _packed(source, bound["batch_sizes"], states[0])
    else:
        batch = source.shape[0 if bound["batch_first"] else 1]
    hidden = states[-1].shape[2]
    given = states[0].shape[2]
    projected = gates == 4 and given != hidden
    per_way = 2 + 2 * bound["has_biases"] + projected
    params = bound["params"]
    _need(0 < layers <= 1000 and len(params) == layers * ways * per_way, "weights for every layer")
    _need(all(s.shape[:2] == (layers * ways, batch) for s in states), "a state for every layer and sequence")
    _need(all(p.dtype == source.dtype and p.device == source.device for p in [*params, *states]), "one dtype")
    for number in range(layers * ways):
        width = source.shape[-1] if number < ways else given * ways
        want = [(gates * hidden, width), (gates * hidden, given)]
        want += [(gates * hidden,)] * 2 * bound["has_biases"] + [(given, hidden)] * projected
        got = [tuple(p.shape) for p in params[number * per_way : (number + 1) * per_way]]
        _need(got == want, f"weights of the sizes {want}")


def _packed(source: Any, sizes: Any, state: Any) -> int:
    _need(sizes.dim() == 1 and sizes.numel() > 0 and sizes.device.type in ("cpu", "meta"), "batch sizes")
    if sizes.is_meta:
        return int(state.shape[1])
    numbers = [int(size) for size in sizes]
    _need(min(numbers) > 0 and numbers == sorted(numbers, reverse=True), "batch sizes that fall")
    _need(sum(numbers) == source.shape[0], "batch sizes that sum up to the rows")
    return numbers[0]


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeFailure(f"expected {what}")


def _row(gates: int) -> Callable[[Mapping[str, Any]], None]:
    return lambda bound: _check(gates, bound)


RECURRENT: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    f"aten.{name}.{form}": _row(gates)
    for name, gates in _GATES.items()
    for form in ("input", "data")
}
"""By operator."""
