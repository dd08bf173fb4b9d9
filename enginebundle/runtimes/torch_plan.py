"""What a torch graph will take at certain sizes, known before it runs: every result's size, and the memory.

A graph says of which size each result is, but an operator obeys its arguments. So the graph first runs on torch's
meta device, where tensors have sizes and no content; what it would make has to be what it says, and to fit.
Steps behind values that only data give are asked the same way just before they run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import RuntimeFailure
from enginebundle.format.solve import learn
from enginebundle.runtimes.torch_step import Size, Slot, Step, Symbols, sizes_of

if TYPE_CHECKING:
    import torch

_NO_CALL = frozenset(
    {"aten._local_scalar_dense.default", "aten.item.default", "aten.equal.default"}
)


class _Unknown:
    """A value that only data give."""


UNKNOWN = _Unknown()


@dataclass(frozen=True, slots=True)
class Plan:
    """For each step, the size of each result; None where data decide. `late`: steps to be asked when they run."""

    symbols: Symbols
    sizes: tuple[tuple[Size | None, ...], ...]
    late: frozenset[int]


def most_bytes(device: torch.device) -> int:
    """What the values of one call may take at once: $ENGINEBUNDLE_MAX_BYTES, or all memory of the device."""
    if named := os.environ.get("ENGINEBUNDLE_MAX_BYTES", ""):
        if not named.isascii() or not named.isdigit():
            raise RuntimeFailure(f"ENGINEBUNDLE_MAX_BYTES={named!r}: expected a number of bytes")
        return int(named)
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def make(steps: Sequence[Step], values: list[Any], symbols: Symbols, limit: int) -> Plan:
    """The plan of a call. `values`: its inputs and weights on the meta device, None for all other values, and last
    the device.

    RuntimeFailure if a result would have another size or dtype than the graph says, or all of them at a time
    more than `limit` bytes.
    """
    memory, sizes, late = _Memory(limit, values), [], set()
    for number, step in enumerate(steps):
        expected = tuple(sizes_of(result.shape, symbols) for result in step.results)
        found = _ask(step, values)
        if found is None:
            late.add(number)
            found = [_stand_in(step, place, size) for place, size in enumerate(expected)]
        else:
            step.hold(found, expected)
        sizes.append(expected)
        for result, value in zip(step.results, found, strict=True):
            values[result.slot] = value
            memory.take(step, result.slot, value)
        for slot in step.drop:
            values[slot] = None
            memory.drop(slot)
    return Plan(symbols, tuple(sizes), frozenset(late))


def resized(plan: Plan, steps: Sequence[Step], symbols: Symbols) -> Plan:
    """The plan for sizes between those of plans that were made: what the graph says, without the meta device."""
    known: dict[Any, Size | None] = {}
    sizes = []
    for step in steps:
        for result in step.results:
            if result.shape not in known:
                known[result.shape] = sizes_of(result.shape, symbols)
        sizes.append(tuple(known[result.shape] for result in step.results))
    return Plan(symbols, tuple(sizes), plan.late)


def ask(step: Step, values: Sequence[Any], symbols: Symbols, limit: int) -> tuple[Size | None, ...]:
    """The sizes that the results of a late step must have. RuntimeFailure if they would take too much."""
    known = {
        slot: _meta(values[slot]) for slot in _read(step.args) | _read(list(step.kwargs.values()))
    }
    expected = tuple(sizes_of(result.shape, symbols) for result in step.results)
    found = _ask(step, known)  # type: ignore[arg-type]
    if found is not None:
        memory = _Memory(limit, list(known.values()))
        for place, value in enumerate(found):
            memory.take(step, place, value)
        step.hold(found, expected)
    return expected


def settle(step: Step, found: Sequence[Any], symbols: Symbols) -> None:
    """Learn from the results of a late step which values new symbols have."""
    for result, value in zip(step.results, found, strict=True):
        if result.kind is not None and not isinstance(result.kind, type | tuple):
            learn(result.shape, getattr(value, "shape", ()), symbols)


def _ask(step: Step, values: Sequence[Any]) -> Sequence[Any] | None:
    """What the step makes on the meta device; None if only data tell, or torch can't say."""
    read = [values[slot] for slot in _read(step.args) | _read(list(step.kwargs.values()))]
    if (
        step.node.op in _NO_CALL
        or step.node.bodies()
        or any(isinstance(value, _Unknown) for value in read)
    ):
        return None
    try:
        found = step.call(values)
    except RuntimeFailure:
        return None  # the call itself will say it, or know better
    return found if all(_plain(value) for value in found) else None


def _plain(value: Any) -> bool:
    return getattr(value, "is_meta", True)


def _stand_in(step: Step, place: int, size: Size | None) -> Any:
    import torch

    result = step.results[place]
    if result.kind is None:
        return None
    if isinstance(result.kind, type | tuple) or size is None or min(size, default=0) < 0:
        return UNKNOWN
    return torch.empty(size, dtype=result.kind, device="meta")


def _read(arguments: Any) -> set[int]:
    found: set[int] = set()
    for argument in arguments:
        if isinstance(argument, Slot):
            found.add(argument.index)
        elif isinstance(argument, list | tuple):
            found |= _read(argument)
    return found


def _meta(value: Any) -> Any:
    import torch

    if isinstance(value, torch.device):
        return torch.device("meta")
    return value.to("meta") if isinstance(value, torch.Tensor) else value


class _Memory:
    """The storages that are alive, and their bytes; those of `given` values are there anyway."""

    def __init__(self, limit: int, given: Sequence[Any]) -> None:
        self._limit = limit
        self._bytes = 0
        tensors = [value for value in given if hasattr(value, "untyped_storage")]
        self._users = {value.untyped_storage()._cdata: 1 for value in tensors}
        self._of: dict[int, tuple[int, int, Any]] = {}

    def take(self, step: Step, slot: int, value: Any) -> None:
        if not hasattr(value, "untyped_storage"):
            return
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        self._bytes += 0 if self._users.get(key) else size
        self._users[key] = self._users.get(key, 0) + 1
        # The storage is kept, so that no other gets its address.
        self._of[slot] = key, size, storage
        if self._bytes > self._limit:
            raise step.failed(f"{self._bytes} bytes at once, expected at most {self._limit}")

    def drop(self, slot: int) -> None:
        key, size, _ = self._of.pop(slot, (0, 0, None))
        if key:
            self._users[key] -= 1
            self._bytes -= 0 if self._users[key] else size
