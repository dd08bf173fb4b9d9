"""How the arguments of a call are checked: RuntimeFailure says what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from enginebundle.errors import RuntimeFailure

Bound = Mapping[str, Any]
"""Every argument of a call by its name."""
Check = Callable[[Bound], None]


def need(holds: bool, what: str) -> None:
    """RuntimeFailure unless it holds."""
    if not holds:
        raise RuntimeFailure(f"expected {what}")


def within(tensor: Any, low: int, high: int, what: str) -> None:
    """All values in low..high, if the tensor has values."""
    if tensor is not None and not tensor.is_meta and tensor.numel():
        least, most = tensor.aminmax()
        need(low <= int(least) and int(most) <= high, f"{what} of {low} to {high}")
