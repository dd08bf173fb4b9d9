"""Does an exported program compute what the model computes, at sizes other than the example's?

torch.export takes for granted that a dynamic size is neither 0 nor 1, and records no guard for it:
`if x.shape[0] == 1` is false in every program. Whether that matters shows only when both are run.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from compiler.trace import masks
from compiler.trace.complaint import Complaint
from compiler.trace.examples import ExampleMaker, default_example, envelope, example_sizes
from enginebundle.format.spec import Profile, TensorSpec, Tolerance
from enginebundle.serve.compare import compare

ROUNDED = 1 + 2.0**-22
"""What rounding does to a number, at most twice over."""

LOG = logging.getLogger(__name__)


class Agreement:
    """`agreement(values)`: whether program and model agree at these values of the symbols.

    None where that does not show: the model fails there, with `examples` and with random inputs, or answers
    twice differently. The other symbols have the example's sizes. `keywords`: inputs are passed by name.
    """

    def __init__(
        self, model: torch.nn.Module, exported: ExportedProgram, inputs: tuple[TensorSpec, ...],
        profiles: tuple[Profile, ...], keywords: bool, examples: ExampleMaker | None,
    ) -> None:  # fmt: skip
        self._model, self._exported = model, exported
        self._inputs, self._keywords = inputs, keywords
        self._makers = (self._drawn,) if examples is None else (examples, self._drawn)
        self._ranges = envelope(inputs, profiles)
        self._known: dict[tuple[tuple[str, int], ...], bool | None] = {}

    def at_smallest(self) -> Complaint | None:
        """Compare where a dynamic size is 0 or 1: each alone, and all of them."""
        small = {s: r.min for s, r in self._ranges.items() if r.min <= 1 < r.max}
        places = [{symbol: size} for symbol, size in small.items()]
        places += [{symbol: 1} for symbol, size in small.items() if size == 0]
        for place in [*places, small] if len(small) > 1 else places:
            if self(place) is False:
                where = ", ".join(f"{symbol}={size}" for symbol, size in place.items())
                return Complaint(
                    "guard",
                    f"at {where} the exported program does not compute what the model does: "
                    "torch.export takes every dynamic size for larger than 1, and this model does "
                    "something else at 0 or 1",
                    "begin the profile at 2, and give the size 1 a model and profile of its own",
                )
        return None

    def __call__(self, values: Mapping[str, int]) -> bool | None:
        key = tuple(sorted(values.items()))
        if key not in self._known:
            self._known[key] = self._agree(values)
        return self._known[key]

    @functools.cached_property
    def _program(self) -> torch.nn.Module:
        module = self._exported.module(check_guards=False)
        # One of these refuses sizes that the guards exclude, which are the ones to try.
        module._forward_pre_hooks.clear()
        return module

    def _agree(self, values: Mapping[str, int]) -> bool | None:
        sizes = {**example_sizes(self._inputs, self._ranges), **values}
        with _state_kept(self._model), masks.as_given(), torch.no_grad():
            for make in self._makers:
                try:
                    want, again = (self._run(self._model, make(sizes)) for _ in range(2))
                except Exception as error:  # noqa: BLE001  the user's forward may raise anything
                    LOG.info("forward fails at %s: %s", dict(values), error)
                    continue
                if not _equal(want, again):
                    return None
                try:
                    got = self._run(self._program, make(sizes))
                except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
                    LOG.info("the exported program fails at %s: %s", dict(values), error)
                    return False
                return _equal(want, got) or self._as_sensitive(make(sizes), want, got)
        return None

    def _as_sensitive(
        self, tensors: Mapping[str, torch.Tensor], want: list[Any], got: list[Any]
    ) -> bool:
        """Whether rounding the inputs once more moves the model's own results as far."""
        moved = self._run(
            self._model,
            {n: t * ROUNDED if t.is_floating_point() else t for n, t in tensors.items()},
        )
        return len(want) == len(got) == len(moved) and all(
            _equal([a], [b])
            or (isinstance(a, torch.Tensor) and a.is_floating_point()
            and a.shape == b.shape == c.shape and a.numel()
            and bool((a - b).abs().max() <= 4 * (a - c).abs().max()))
            for a, b, c in zip(want, got, moved, strict=True)
        )  # fmt: skip

    def _drawn(self, sizes: Mapping[str, int]) -> Mapping[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {s.name: default_example(s, s.sizes(sizes), generator) for s in self._inputs}

    def _run(self, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> list[Any]:
        copies = {spec.name: tensors[spec.name].clone() for spec in self._inputs}
        result = module(**copies) if self._keywords else module(*copies.values())
        return [*pytree.tree_leaves(result), *copies.values()]  # it may write into these


@contextmanager
def _state_kept(model: torch.nn.Module) -> Iterator[None]:
    """Give the model's buffers their values back afterwards."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _equal(one: list[Any], other: list[Any]) -> bool:
    """Equal up to the rounding of another order of sums."""
    return len(one) == len(other) and all(map(_same, one, other))


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b) and bool(a == b)
    near = 1e-4 if a.dtype in (torch.float32, torch.float64, torch.complex64) else 1e-2
    return compare(b, a, Tolerance(near, near)).passed
