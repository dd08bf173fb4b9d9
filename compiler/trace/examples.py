"""The tensors that a program is traced with, and their sizes.

make_examples(inputs, profiles, examples=None) -> {name: tensor}
from_calls(calls, inputs) -> ExampleMaker               to trace with real inputs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch

from compiler.refused import Refused
from enginebundle.format import dims
from enginebundle.format.spec import Profile, Range, TensorSpec

ExampleMaker = Callable[[Mapping[str, int]], Mapping[str, torch.Tensor]]
"""Makes one tensor for each input at the given values of the symbols."""


class TraceRefused(Refused):
    """The model does not export with the profiles' dynamic dimensions.

    Codes: `inputs`, `examples`, `forward`, `data_dependent`, `fixed`, `tied`, `guard`, `reshaped`,
    `export`.
    """


def envelope(inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]) -> dict[str, Range]:
    """The smallest min and the largest max of each symbol of the inputs over all profiles.

    TraceRefused if a profile gives no range for a symbol that an input uses.
    """
    result: dict[str, Range] = {}
    for spec in inputs:
        for symbol in sorted({s for dim in spec.shape for s in dims.symbols_of(dim)}):
            bounds = [p.symbols[symbol] for p in profiles if symbol in p.symbols]
            if len(bounds) < len(profiles) or not bounds:
                missing = [p.name for p in profiles if symbol not in p.symbols] or ["(none given)"]
                raise TraceRefused(
                    "inputs",
                    f"input {spec.name!r} uses the symbol {symbol!r}, for which profile "
                    f"{', '.join(missing)} gives no range",
                    f"give {symbol!r} a min, opt and max in every profile",
                )
            low, high = min(b.min for b in bounds), max(b.max for b in bounds)
            result[symbol] = Range(low, low, high)
    return result


def example_sizes(inputs: tuple[TensorSpec, ...], ranges: Mapping[str, Range]) -> dict[str, int]:
    """A size for each symbol: in its range and, if possible, not 0 or 1 and unlike every other size.

    Sizes do not depend on opt, so that changing opt alone does not change the traced program.
    """
    taken = {dim for spec in inputs for dim in spec.shape if isinstance(dim, int)}
    sizes: dict[str, int] = {}
    for symbol in sorted(ranges):
        low, high = ranges[symbol].min, ranges[symbol].max
        if low == high:
            sizes[symbol] = low
            continue
        # Prefer 5 and up: smaller sizes may equal small constants in the model's code by accident.
        window = list(range(max(low, 2), min(high, max(low, 2) + 64) + 1))
        window = [n for n in window if n >= 5] + [n for n in reversed(window) if n < 5]
        free = [n for n in window if n not in taken] or window or [2]
        sizes[symbol] = free[0]
        taken.update((free[0], 2 * free[0]))
    return sizes


def make_examples(
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    examples: ExampleMaker | None = None,
    at: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, torch.Tensor]:
    """The tensors that `trace` exports with: the maker's, or random floats, 0/1 ints, true bools. `at` gives some
    symbols' sizes."""
    symbols = {**example_sizes(inputs, envelope(inputs, profiles)), **at}
    made = examples(symbols) if examples is not None else {}
    generator = torch.Generator().manual_seed(0)
    result: dict[str, torch.Tensor] = {}
    for spec in inputs:
        shape = spec.sizes(symbols)
        if examples is None:
            result[spec.name] = default_example(spec, shape, generator)
            continue
        tensor = made.get(spec.name)
        if tensor is None or tuple(tensor.shape) != shape or _dtype(tensor) != spec.dtype:
            got = None if tensor is None else f"{_dtype(tensor)} {tuple(tensor.shape)}"
            raise TraceRefused(
                "examples",
                f"example for input {spec.name!r}: expected {spec.dtype} {shape}, got {got}",
                "make the example-maker use the sizes it is given",
            )
        result[spec.name] = tensor.detach().clone()
    return result


def default_example(
    spec: TensorSpec, shape: tuple[int, ...], generator: torch.Generator, high: int = 2
) -> torch.Tensor:
    """Normal floats, integers in [0, high), true bools."""
    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype == torch.bool:
        return torch.ones(shape, dtype=dtype)
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=wide).to(dtype)
    return torch.randint(0, high, shape, generator=generator).to(dtype)


def from_calls(
    calls: Sequence[Mapping[str, torch.Tensor]], inputs: tuple[TensorSpec, ...]
) -> ExampleMaker:
    """Real inputs, cut or repeated to the sizes asked for: of the call that needs the least of both."""

    def make(symbols: Mapping[str, int]) -> dict[str, torch.Tensor]:
        shapes = {spec.name: spec.sizes(symbols) for spec in inputs}

        def changes(call: Mapping[str, torch.Tensor]) -> tuple[int, int]:
            """Elements that are repeated, and that are cut off, along each axis."""
            gaps = [
                wanted - have
                for name, shape in shapes.items()
                for wanted, have in zip(shape, call[name].shape, strict=True)
            ]
            return sum(gap for gap in gaps if gap > 0), -sum(gap for gap in gaps if gap < 0)

        nearest = min(calls, key=changes)
        return {name: resized(nearest[name], shape) for name, shape in shapes.items()}

    return make


def resized(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A real tensor cut, or repeated, to another shape of the same rank."""
    for axis, size in enumerate(shape):
        if tensor.shape[axis] == 0 < size:
            tensor = tensor.new_zeros((*tensor.shape[:axis], 1, *tensor.shape[axis + 1 :]))
        tensor = tensor.index_select(axis, torch.arange(size) % max(tensor.shape[axis], 1))
    return tensor.clone()


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
