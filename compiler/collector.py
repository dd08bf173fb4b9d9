"""Python's cyclic garbage collector, out of the way while a model is compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """While open, no cycles are collected.

    Export and lowering make some 100,000 objects that stay, and each collection looks through all of
    them, and through all of torch's: a tenth of the time. Also a decorator.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
