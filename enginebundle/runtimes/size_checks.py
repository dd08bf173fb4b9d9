"""Operators whose results' sizes, or whose time, a number or data decide: no more than MOST elements."""

from __future__ import annotations

import math
from collections.abc import Mapping

from enginebundle.runtimes.checking import Bound, Check, need, within

MOST = 1 << 28
"""Elements that a size may give which data decide."""
_ORDER = 4096
"""Of a polynomial: its kernel loops as often, for each element."""


def _polynomial(bound: Bound) -> None:
    n = bound["n"]
    if isinstance(n, int | float):
        need(n <= _ORDER, f"an order of at most {_ORDER}")
    elif not n.is_meta and n.numel():
        need(float(n.max()) <= _ORDER, f"orders of at most {_ORDER}")


def _bins(bound: Bound) -> None:
    need(bound["minlength"] <= MOST, f"at most {MOST} bins")
    within(bound["self"], 0, MOST, "values")


def _histogram(bound: Bound) -> None:
    bins = bound["bins"]
    if isinstance(bins, int):
        need(0 < bins <= MOST, f"1 to {MOST} bins")
    elif all(isinstance(count, int) for count in bins):
        need(all(0 < count <= MOST for count in bins), f"1 to {MOST} bins")
        need(math.prod(bins) <= MOST, f"at most {MOST} bins")


def _classes(bound: Bound) -> None:
    need(bound["num_classes"] * max(bound["self"].numel(), 1) <= MOST, f"at most {MOST} elements")
    within(bound["self"], 0, MOST // max(bound["self"].numel(), 1), "classes")


def _repeats(bound: Bound) -> None:
    repeats = bound["repeats"]
    given = bound.get("self")
    each = (
        1
        if given is None or not given.numel()
        else max(given.numel() // max(repeats.numel(), 1), 1)
    )
    if not repeats.is_meta and repeats.numel():
        within(repeats, 0, MOST, "repeats")
        total = int(repeats.sum())
        need(total * each <= MOST, f"at most {MOST} elements")
        size = bound["output_size"]
        # Kernels write the repeats into as many places as they are told of.
        need(
            size is None or repeats.numel() == 1 or size == total,
            "the output size that repeats give",
        )


def _combinations(bound: Bound) -> None:
    count, taken = bound["self"].numel(), bound["r"]
    need(0 <= taken <= 32 and count**taken <= MOST, f"at most {MOST} combinations")


_POLYNOMIALS = [
    f"special_{name}_polynomial_{kind}.{form}"
    for name in ("chebyshev", "shifted_chebyshev", "hermite", "laguerre", "legendre")
    for kind in ("t", "u", "v", "w", "h", "he", "l", "p")
    for form in ("default", "n_scalar", "x_scalar")
]
_ROWS: tuple[tuple[Check, str], ...] = (
    (
        _histogram,
        "histc.default histogram.bin_ct _histogramdd_from_bin_cts.default _histogramdd_bin_edges.default",
    ),
    (_polynomial, " ".join(_POLYNOMIALS)),
    (_bins, "bincount.default"),
    (_classes, "one_hot.default"),
    (_repeats, "repeat_interleave.Tensor repeat_interleave.self_Tensor"),
    (_combinations, "combinations.default"),
)
SIZED: Mapping[str, Check] = {
    f"aten.{name}": check for check, names in _ROWS for name in names.split()
}
"""By operator."""
