"""What torch's `run_decompositions` does over and over with one result, done once.

    done_once()     a context, around run_decompositions

Torch asks the dispatcher for all its composite operators once for each library of operators, and registers some
5,000 rules through a decorator whose annotations Python evaluates every time. For a small program that is half of
the time that decomposing takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch._C import DispatchKey
from torch._export import utils
from torch._ops import OperatorBase

_ONE = threading.RLock()


@contextmanager
def done_once() -> Iterator[None]:
    """While open, torch lists the composite operators once, and registers a rule without ceremony.

    One thread at a time: of two, the one that ends last would leave its own functions in torch.
    """
    with _ONE:
        yield from _patched()


def _patched() -> Iterator[None]:
    torchs: Any = OperatorBase
    register, materialize = torchs.py_impl, utils._materialize_cpp_cia_ops
    listed = False

    def py_impl(self: Any, key: Any) -> Callable[[Any], Any]:
        plain = (
            type(key) is DispatchKey and key != DispatchKey.Python and key not in self.py_kernels
        )
        if not plain:
            return register(self, key)  # type: ignore[no-any-return]

        def keep(rule):  # type: ignore[no-untyped-def]  # annotations would be evaluated each time
            self.py_kernels[key] = rule
            self._dispatch_cache.clear()
            return rule

        return keep

    def list_once() -> None:
        nonlocal listed
        if not listed:
            materialize()
            listed = True

    torchs.py_impl, utils._materialize_cpp_cia_ops = py_impl, list_once
    try:
        yield
    finally:
        torchs.py_impl, utils._materialize_cpp_cia_ops = register, materialize
