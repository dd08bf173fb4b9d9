"""Functions of torch that take a size as a C++ integer, for sizes that are symbols.

    with_symbols()      a context, around torch.export

`torch.linspace(0, 1, n)` and `torch.triu_indices(n, n)` fix `n` to the example's, since their schemas know only
numbers, and `torch.gradient` reads its input's sizes as such. While this is open, a call with a symbol among
its sizes is written with operators that take symbols. Any other call is torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import uninteresting_files
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from compiler.trace.slopes import gradient

Size = Any
"""An int or a SymInt: torch's annotations know only the first."""


@contextmanager
def with_symbols() -> Iterator[None]:
    """While open, the functions in FORMS take symbols for their sizes."""
    uninteresting_files().add(__file__)  # so that torch blames the caller's line for a guard
    with _Forms():
        yield


class _Forms(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        form = FORMS.get(func) if callable(func) else None
        if form is not None and any(map(_symbolic, pytree.tree_leaves((args, kwargs or {})))):
            found = form(*args, **(kwargs or {}))
            if found is not NotImplemented:
                return found
        return func(*args, **(kwargs or {}))


def _symbolic(value: object) -> bool:
    sizes = value.shape if isinstance(value, Tensor) else (value,)
    return any(isinstance(size, torch.SymInt | torch.SymFloat) for size in sizes)


def linspace(
    start: Any, end: Any, steps: Size, *, dtype: torch.dtype | None = None, **options: Any
) -> Any:
    """As torch computes it: the first half from the start, the second from the end."""
    dtype = dtype or torch.get_default_dtype()
    if dtype.is_complex or options.pop("out", None) is not None:
        return NotImplemented
    work = dtype if dtype.is_floating_point else torch.float64
    place = torch.arange(steps, dtype=work, **options)
    count = torch.scalar_tensor(steps, dtype=work)
    step = (end - start) / (count - 1).clamp(min=1)
    early = (place < (count / 2).floor()) | (place == 0)
    return torch.where(early, start + step * place, end - step * (count - 1 - place)).to(dtype)


def logspace(start: Any, end: Any, steps: Size, base: float = 10.0, **options: Any) -> Any:
    exponents = linspace(start, end, steps, **options)
    if exponents is NotImplemented or not exponents.is_floating_point():
        return NotImplemented
    return torch.pow(base, exponents)


def tril_indices(
    row: Size, col: Size, offset: int = 0, *, dtype: torch.dtype = torch.int64, **options: Any
) -> Tensor:
    """int64 [2, places]: places in a row start at its first column."""
    counts = (torch.arange(row, **options) + offset + 1).clamp(0, col)
    return _in_rows(counts, _below(row, col, offset)).to(dtype)


def triu_indices(
    row: Size, col: Size, offset: int = 0, *, dtype: torch.dtype = torch.int64, **options: Any
) -> Tensor:
    """int64 [2, places]: places in a row end at its last column."""
    first = (torch.arange(row, **options) + offset).clamp(0, col)
    places = _in_rows(col - first, row * col - _below(row, col, offset - 1))
    return (places + torch.stack([torch.zeros_like(places[0]), first[places[0]]])).to(dtype)


def _in_rows(counts: Tensor, total: Size) -> Tensor:
    """For each of `total` places, its row and how far it is into the row, which has so many places."""
    ends = counts.cumsum(0)
    place = torch.arange(total, device=counts.device)
    row = torch.searchsorted(ends, place, right=True)
    return torch.stack([row, place - (ends - counts)[row]])


def _below(row: Size, col: Size, offset: int) -> Size:
    """How many places of [row, col] are not above the diagonal with this offset."""

    def up_to(last: Size) -> Size:
        """min(1, col) + ... + min(last, col)."""
        last = torch.sym_max(last, 0)  # type: ignore[no-untyped-call]
        low = torch.sym_min(last, col)  # type: ignore[no-untyped-call]
        return low * (low + 1) // 2 + col * (last - low)

    return up_to(row + offset) - up_to(offset)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Any:  # noqa: A002  (torch's name)
    if r == 1:
        return input[:, None]
    if r != 2:
        return NotImplemented
    size = input.shape[0]
    pairs = triu_indices(size, size, 0 if with_replacement else 1, device=input.device)
    return input[pairs.T]


def one_hot(input: Tensor, num_classes: Size = -1) -> Any:  # noqa: A002
    if isinstance(num_classes, int) and num_classes < 0:
        return NotImplemented
    return (input[..., None] == torch.arange(num_classes, device=input.device)).long()


def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Any:
    if self.ndim != 2 or wrap:
        return NotImplemented
    rows, columns = (torch.arange(size, device=self.device) for size in self.shape)
    return self.copy_(torch.where(rows[:, None] == columns, fill_value, self))


def fftfreq(n: Size, d: float = 1.0, **options: Any) -> Any:
    place = torch.arange(n, **options)
    return torch.where(place < (n + 1) // 2, place, place - n) / (n * d)


def rfftfreq(n: Size, d: float = 1.0, **options: Any) -> Any:
    return torch.arange(n // 2 + 1, **options) / (n * d)


def as_tensor(
    data: Any, *, dtype: torch.dtype | None = None, device: Any = None, **options: Any
) -> Any:
    """Of a size, or of a list of numbers with sizes among them."""
    listed = isinstance(data, list | tuple)
    numbers = list(data) if listed else [data]
    if options or not all(
        isinstance(n, int | float | torch.SymInt | torch.SymFloat) for n in numbers
    ):
        return NotImplemented
    whole = all(isinstance(n, int | torch.SymInt) for n in numbers)
    dtype = dtype or (torch.int64 if whole else torch.get_default_dtype())
    made = [torch.scalar_tensor(n, dtype=dtype, device=device) for n in numbers]
    return torch.stack(made) if listed else made[0]


def _window(*weights: float) -> Callable[..., Tensor]:
    """weights[0] - weights[1] * cos(x) + weights[2] * cos(2 * x), for x once around."""

    def window(
        window_length: Size, periodic: bool = True, *, dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> Tensor:  # fmt: skip
        options.pop("requires_grad", None)
        count = torch.scalar_tensor(window_length, dtype=dtype)
        around = count if periodic else (count - 1).clamp(min=1)
        x = torch.arange(window_length, dtype=dtype, **options) * (2 * math.pi / around)
        waves = (w * (-1) ** i * torch.cos(i * x) for i, w in enumerate(weights))
        return torch.where(count == 1, 1.0, sum(waves, torch.zeros_like(x)))

    return window


def hamming_window(
    window_length: Size, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
    **options: Any,
) -> Tensor:  # fmt: skip
    return _window(alpha, beta)(window_length, periodic, **options)


def bartlett_window(
    window_length: Size, periodic: bool = True, *, dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Tensor:  # fmt: skip
    return _peaked(lambda x: 1 - x.abs(), window_length, periodic, dtype, options)


def kaiser_window(
    window_length: Size, periodic: bool = True, beta: float = 12.0, *,
    dtype: torch.dtype = torch.float32, **options: Any,
) -> Tensor:  # fmt: skip
    def weight(x: Tensor) -> Tensor:
        root = (1 - x * x).clamp(min=0).sqrt()
        return torch.i0(beta * root) / torch.i0(torch.scalar_tensor(beta, dtype=dtype))

    return _peaked(weight, window_length, periodic, dtype, options)


def _peaked(
    weight: Callable[[Tensor], Tensor], size: Size, periodic: bool, dtype: torch.dtype,
    options: dict[str, Any],
) -> Tensor:  # fmt: skip
    """A window by the distance from its middle: -1 at its beginning, 1 at its end."""
    options.pop("requires_grad", None)
    count = torch.scalar_tensor(size, dtype=dtype)
    around = count if periodic else (count - 1).clamp(min=1)
    x = torch.arange(size, dtype=dtype, **options) * (2 / around) - 1
    return torch.where(count == 1, 1.0, weight(x))


FORMS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.linspace: linspace, torch.logspace: logspace, torch.tril_indices: tril_indices,
    torch.triu_indices: triu_indices, torch.combinations: combinations, torch.gradient: gradient,
    torch.nn.functional.one_hot: one_hot, Tensor.fill_diagonal_: fill_diagonal_,
    torch.fft.fftfreq: fftfreq, torch.fft.rfftfreq: rfftfreq,
    torch.hann_window: _window(0.5, 0.5), torch.hamming_window: hamming_window,
    torch.blackman_window: _window(0.42, 0.5, 0.08), torch.bartlett_window: bartlett_window,
    torch.kaiser_window: kaiser_window, torch.as_tensor: as_tensor, torch.asarray: as_tensor,
}  # fmt: skip
"""Each returns NotImplemented where it does not apply."""
