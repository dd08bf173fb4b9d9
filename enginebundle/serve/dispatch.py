"""From a call's tensors to a profile: check names, dtypes and sizes, then choose.

Anything that does not fit raises InputError. Nothing is cast or broadcast behind the caller's back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, InputError, RuntimeFailure
from enginebundle.format import dims
from enginebundle.format.dims import Dim
from enginebundle.format.solve import learn, solve, symbols_of_all
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.serve.nested import flattened

if TYPE_CHECKING:
    import torch


def by_name(
    specs: Sequence[TensorSpec], values: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Values by position, with those by name. An input inside a container (`feats.0`) has the container's
    place. InputError for too many, or one that is given twice."""
    places = list(dict.fromkeys(spec.name.partition(".")[0] for spec in specs))
    if len(values) > len(places):
        raise InputError(f"expected at most the inputs {places}, got {len(values)} by position")
    if twice := [name for name in places[: len(values)] if name in named]:
        raise InputError(f"inputs given by position and by name: {twice}")
    return dict(zip(places, values, strict=False)) | dict(named)


class Intake:
    """`tensors_of`, quick where all is torch tensors as declared."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = specs
        self._dtypes: dict[str, torch.dtype] = {}

    def __call__(self, given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        import torch

        if not self._dtypes:
            self._dtypes = {spec.name: getattr(torch, spec.dtype) for spec in self._specs}
        if given.keys() != self._dtypes.keys():
            return tensors_of(self._specs, given)
        tensors = {}
        for name, dtype in self._dtypes.items():
            value = given[name]
            if (
                type(value) is not torch.Tensor
                or value.dtype is not dtype
                or value.layout is not torch.strided
                or not (value.is_cuda or value.is_cpu)
            ):
                return tensors_of(self._specs, given)
            tensors[name] = value.detach() if value.requires_grad else value
        return tensors


def tensors_of(specs: Sequence[TensorSpec], given: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The call's inputs as tensors, checked by name, dtype, layout and device.

    NumPy arrays and what offers DLPack share their memory unless torch can't read their layout.
    """
    import torch

    wanted = [spec.name for spec in specs]
    given = flattened(given, wanted)
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing or extra:
        raise InputError(f"expected the inputs {wanted}; missing {missing}, unknown {extra}")
    tensors = {}
    for spec in specs:
        tensor = _tensor(spec.name, given[spec.name])
        if tensor.dtype is not getattr(torch, spec.dtype):
            raise InputError(
                f"input {spec.name!r}: expected {spec.dtype}, got {str(tensor.dtype)[6:]}; "
                f"convert it first, for example with .to(torch.{spec.dtype})"
            )
        if tensor.layout is not torch.strided or not (tensor.is_cpu or tensor.is_cuda):
            raise InputError(
                f"input {spec.name!r}: expected a dense tensor on the CPU or a CUDA GPU, got "
                f"{str(tensor.layout).removeprefix('torch.')} on {tensor.device}"
            )
        tensors[spec.name] = tensor
    return tensors


def bind(specs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Each symbol's value, read from the call's shapes. InputError if two shapes disagree."""
    symbols: dict[str, int] = {}
    source: dict[str, str] = {}
    expressions: list[tuple[Dim, int]] = []
    for spec in specs:
        shape = list(shapes[spec.name])
        if len(shape) != len(spec.shape):
            raise InputError(
                f"input {spec.name!r}: expected {len(spec.shape)} dimensions {_shown(spec.shape)}, "
                f"got shape {shape}"
            )
        for axis, (dim, size) in enumerate(zip(spec.shape, shape, strict=True)):
            if not isinstance(dim, str):
                continue
            if not dim.isidentifier():
                expressions.append((dim, size))
                continue
            if symbols.setdefault(dim, size) != size:
                raise InputError(
                    f"input {spec.name!r}: dimension {axis} is {dim!r}, which is {symbols[dim]} in "
                    f"input {source[dim]!r}, but got {size}"
                )
            source.setdefault(dim, spec.name)
    if expressions:
        try:
            symbols = solve(expressions, symbols)
        except FormatError as error:
            names = ", ".join(spec.name for spec in specs)
            raise InputError(f"sizes of {names}: {error}") from error
        if unknown := symbols_of_all(dim for dim, _ in expressions) - symbols.keys():
            raise InputError(f"the inputs' sizes do not tell {', '.join(sorted(unknown))}")
    for spec in specs:
        for axis, (dim, size) in enumerate(zip(spec.shape, shapes[spec.name], strict=True)):
            expected = dims.evaluate(dim, symbols)
            if expected != size:
                raise InputError(
                    f"input {spec.name!r}: expected {expected} as dimension {axis} of "
                    f"{_shown(spec.shape)}, got shape {list(shapes[spec.name])}"
                )
    return symbols


def choose(profiles: Sequence[Profile], symbols: Mapping[str, int]) -> Profile:
    """The tightest profile that contains the sizes. InputError with the misfits of each if none does."""
    if (found := fitting(profiles, symbols)) is None:
        raise no_profile(profiles, symbols)
    return found


def fitting(profiles: Sequence[Profile], symbols: Mapping[str, int]) -> Profile | None:
    """The tightest profile that contains the sizes; None if none does."""
    found = [profile for profile in profiles if not _misfits(profile, symbols)]
    return min(found, key=lambda profile: _looseness(profile, symbols), default=None)


def no_profile(profiles: Sequence[Profile], symbols: Mapping[str, int]) -> InputError:
    """The error of sizes that no profile contains, with the misfits of each, the nearest named."""
    sizes = ", ".join(f"{symbol}={size}" for symbol, size in symbols.items()) or "no sizes"
    reasons = "; ".join(f"{p.name}: {', '.join(_misfits(p, symbols))}" for p in profiles)
    nearest = min(profiles, key=lambda profile: _distance(profile, symbols), default=None)
    named = f"; the nearest is {nearest.name!r}" if nearest is not None else ""
    return InputError(
        f"no profile contains {sizes} ({reasons}){named}. "
        "Pad, split or crop the input, or build a profile for it"
    )


def expected(
    specs: Sequence[TensorSpec], symbols: Mapping[str, int]
) -> Iterator[tuple[str, torch.dtype, tuple[int, ...] | None]]:
    """Each output's name, dtype, and size if the inputs' sizes tell it."""
    import torch

    for spec in specs:
        size = [_size(dim, symbols) for dim in spec.shape]
        known = tuple(n for n in size if n is not None)
        yield spec.name, getattr(torch, spec.dtype), known if len(known) == len(size) else None


def hold(
    specs: Sequence[TensorSpec], outputs: Mapping[str, torch.Tensor], symbols: Mapping[str, int]
) -> None:
    """RuntimeFailure unless outputs have the dtypes and sizes that the bundle says.

    A size that no input has, since data decide it, is taken from the first output that has it alone.
    """
    known = dict(symbols)
    for spec in specs:
        learn(spec.shape, outputs[spec.name].shape, known)
    for spec in specs:
        tensor = outputs[spec.name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        want = [dim if (n := _size(dim, known)) is None else n for dim in spec.shape]
        fits = len(want) == tensor.dim() and all(
            isinstance(size, str) or size == got
            for size, got in zip(want, tensor.shape, strict=True)
        )
        if dtype != spec.dtype or not fits:
            raise RuntimeFailure(
                f"output {spec.name!r}: expected {spec.dtype} {_shown(want)}, got {dtype} {list(tensor.shape)}"
            )


def _size(dim: Dim, symbols: Mapping[str, int]) -> int | None:
    """None if it depends on a size that is not known, or has no value."""
    try:
        return dims.evaluate(dim, symbols)
    except FormatError:
        return None


def _misfits(profile: Profile, symbols: Mapping[str, int]) -> list[str]:
    return [
        f"{symbol} must be {bounds.min} to {bounds.max}, got {symbols[symbol]}"
        for symbol, bounds in profile.ranges
        if symbol in symbols and symbols[symbol] not in bounds
    ]


def _distance(profile: Profile, symbols: Mapping[str, int]) -> tuple[float, int, str]:
    """By what factor the sizes would have to change for the profile to contain them, and how tight it is."""
    factor = 0.0
    for symbol, bounds in profile.ranges:
        size = max(symbols.get(symbol, bounds.opt), 1)
        nearest = max(min(size, bounds.max), bounds.min, 1)
        factor += abs(math.log(size / nearest))
    return round(factor, 9), _looseness(profile, symbols)[0], profile.name


def _looseness(profile: Profile, symbols: Mapping[str, int]) -> tuple[int, int, str]:
    """The number of shapes that the profile covers, then the distance from the sizes it is tuned for."""
    covered = math.prod(bounds.max - bounds.min + 1 for _, bounds in profile.ranges)
    distance = sum(abs(bounds.opt - symbols.get(s, bounds.opt)) for s, bounds in profile.ranges)
    return covered, distance, profile.name


def _tensor(name: str, value: Any) -> torch.Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach()
    numpy: Any = sys.modules.get("numpy")  # an array's own package is imported
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _of_array(name, numpy.asarray(value))
    if hasattr(value, "__dlpack__"):
        from torch.utils.dlpack import from_dlpack

        try:
            return from_dlpack(value)
        except (RuntimeError, TypeError, ValueError, BufferError) as error:
            raise InputError(
                f"input {name!r}: {type(value).__name__} by DLPack: {error}"
            ) from error
    raise InputError(
        f"input {name!r}: expected a torch tensor, a NumPy array or a tensor that offers DLPack, got "
        f"{type(value).__name__}"
    )


def _of_array(name: str, array: Any) -> torch.Tensor:
    import numpy
    import torch

    # from_numpy needs native byte order and non-negative strides, and warns about read-only memory.
    if not array.flags.writeable or not array.flags.c_contiguous or not array.dtype.isnative:
        array = numpy.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise InputError(f"input {name!r}: NumPy dtype {array.dtype}: {error}") from error


def _shown(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"
