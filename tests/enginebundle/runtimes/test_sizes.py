"""Arithmetic on sizes."""

from __future__ import annotations

import pytest

from enginebundle.errors import RuntimeFailure
from enginebundle.format.graph import SYM_OPS
from enginebundle.runtimes import sizes


def test_every_size_operator_exists() -> None:
    assert all(sizes.function(name) for name in SYM_OPS)
    assert sizes.function("exec") is None


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("floordiv", (-7, 2), -4), ("mod", (-7, 3), 2), ("truediv", (7, 2), 3.5), ("max", (2, 5), 5),
        ("ite", (True, 1, 2), 1), ("not", (False,), True), ("int", (3.9,), 3), ("ceil", (3.1,), 4),
        ("sqrt", (9,), 3.0), ("pow", (2, 10), 1024), ("and", (6, 3), 2), ("neg", (4,), -4),
    ],
)  # fmt: skip
def test_size_arithmetic(name: str, args: tuple[float, ...], value: float) -> None:
    function = sizes.function(name)
    assert function is not None
    assert function(*args) == value


@pytest.mark.parametrize(
    ("name", "args"),
    [("floordiv", (1, 0)), ("pow", (10, 10**9)), ("mul", (2**62, 4)), ("add", ("a", 1))],
)
def test_size_arithmetic_that_goes_wrong_is_reported(name: str, args: tuple[int, ...]) -> None:
    function = sizes.function(name)
    assert function is not None
    with pytest.raises(RuntimeFailure, match=f"sym.{name}"):
        function(*args)
