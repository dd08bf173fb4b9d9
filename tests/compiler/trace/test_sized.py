"""Forms that take symbols for sizes give what torch's own functions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from compiler.trace import sized

X, V, TALL = torch.randn(5, 6), torch.randn(7), torch.arange(12.0).reshape(4, 3)
PLACES = torch.tensor([0.0, 0.5, 2.0, 2.5, 4.0])

CASES: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    *((torch.linspace, (a, b, n), {}) for a, b in ((0, 1), (-2.5, 7), (3, -3)) for n in (0, 1, 2, 5, 8)),
    (torch.linspace, (0, 10, 4), {"dtype": torch.int64}),
    (torch.linspace, (-3, 5, 6), {"dtype": torch.int32}),
    (torch.linspace, (0, 1, 9), {"dtype": torch.float64}),
    (torch.linspace, (torch.tensor(1.0), torch.tensor(4.0), 7), {}),
    *((torch.logspace, (0, 2, n), {}) for n in (1, 4)),
    (torch.logspace, (-1, 1, 5, 2.0), {}),
    *(
        (function, (rows, columns, offset), {})
        for function in (torch.tril_indices, torch.triu_indices)
        for rows, columns in ((4, 4), (3, 6), (6, 3), (1, 1), (0, 2))
        for offset in (-7, -4, -1, 0, 1, 2, 7)
    ),
    (torch.tril_indices, (3, 3), {"dtype": torch.int32}),
    *((torch.combinations, (x, r, again), {}) for x in (V, V[:1]) for r in (1, 2) for again in (False, True)),
    *((torch.gradient, (x,), {"edge_order": order}) for x in (X, V) for order in (1, 2)),
    (torch.gradient, (X,), {"spacing": 0.5}),
    (torch.gradient, (X,), {"dim": 1}),
    (torch.gradient, (X,), {"dim": (0, -1), "spacing": (2.0, 0.1)}),
    (torch.gradient, (X,), {"spacing": (PLACES,), "dim": 0}),
    (torch.gradient, (X,), {"spacing": (PLACES,), "dim": 0, "edge_order": 2}),
    (torch.gradient, (X,), {"spacing": (PLACES, torch.arange(6.0) ** 2), "edge_order": 2}),
    *((functional.one_hot, (torch.tensor([[1, 0], [3, 1]]), n), {}) for n in (4, 6)),
    *((f, (n,), {}) for f in (torch.fft.fftfreq, torch.fft.rfftfreq) for n in (1, 2, 5, 8)),
    (torch.fft.fftfreq, (6, 0.1), {}),
    *(
        (window, (n,), {"periodic": periodic})
        for window in (torch.hann_window, torch.hamming_window, torch.blackman_window)
        for n in (1, 2, 7, 8)
        for periodic in (True, False)
    ),
    (torch.hamming_window, (6, True, 0.5, 0.4), {}),
    *(
        (window, (n,), {"periodic": periodic})
        for window in (torch.bartlett_window, torch.kaiser_window)
        for n in (1, 2, 3, 7, 8)
        for periodic in (True, False)
    ),
    *((torch.kaiser_window, (9, False, beta), {}) for beta in (0.0, 1.5, 8.6)),
    (torch.bartlett_window, (6,), {"dtype": torch.float64}),
    *((torch.as_tensor, (data,), {}) for data in (3, 2.5, [4], [1, 2.5], (3, 4))),
    *((torch.asarray, (data,), {}) for data in (3, [1, 2.5])),
    (torch.as_tensor, ([3, 4],), {"dtype": torch.float32}),
    (torch.as_tensor, (3,), {"dtype": torch.float64}),
    *((torch.Tensor.fill_diagonal_, (x, 2.0), {}) for x in (X, TALL, TALL.T)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "args", "options"), CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_same_values_as_torchs_own(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    def copied() -> tuple[Any, ...]:
        return tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in args)

    got, want = (f(*copied(), **options) for f in (sized.FORMS[function], function))
    torch.testing.assert_close(got, want, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(
    ("function", "args", "options"),
    [
        (torch.linspace, (0, 1, 3), {"dtype": torch.complex64}),
        (torch.linspace, (0, 1, 3), {"out": torch.empty(3)}),
        (torch.logspace, (0, 2, 3), {"dtype": torch.int64}),
        (torch.combinations, (V, 3), {}),
        (torch.as_tensor, (V,), {}),
        (torch.as_tensor, ([[1, 2], [3, 4]],), {}),
        (torch.asarray, ([1, 2],), {"copy": True}),
        (functional.one_hot, (torch.tensor([1, 2]),), {}),
        (torch.Tensor.fill_diagonal_, (TALL, 1.0, True), {}),
        (torch.Tensor.fill_diagonal_, (torch.zeros(2, 2, 2), 1.0), {}),
    ],
)
def test_what_has_no_form_is_left_to_torch(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> None:
    assert sized.FORMS[function](*args, **options) is NotImplemented


def test_every_form_is_tried_here() -> None:
    assert {function for function, _, _ in CASES} == set(sized.FORMS)
