"""Python's functions of numbers take symbols wherever a module has them by name, and are Python's own again after."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from compiler.trace import host_math
from compiler.trace.host_math import with_symbols

OWN = {"sqrt": math.sqrt, "log": math.log}
"""Not by name, since this module's names change like any other's."""


@pytest.fixture(params=["installed", "users"])
def module(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """A module that has `sqrt` as `root`: installed ones are remembered, the user's are looked through each time."""
    made = ModuleType("size_helpers")
    folder = host_math._INSTALLED[0] if request.param == "installed" else "/home/user"
    made.__file__ = f"{folder}/size_helpers.py"
    made.root = math.sqrt
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_a_module_has_the_forms_inside_and_its_own_functions_after(module: ModuleType) -> None:
    for _ in range(2):
        with with_symbols():
            assert module.root is math.sqrt
            assert module.root is not OWN["sqrt"]
            assert module.root(9.0) == 3.0
        assert module.root is math.sqrt is OWN["sqrt"]


def test_a_name_that_comes_later_is_found(module: ModuleType) -> None:
    with with_symbols():
        pass
    module.natural = math.log
    with with_symbols():
        assert module.natural is math.log is not OWN["log"]
    assert module.natural is OWN["log"]


def test_a_name_that_is_gone_or_another_stays_so(module: ModuleType) -> None:
    with with_symbols():
        pass
    module.root = len
    with with_symbols():
        assert module.root is len
    del module.root
    module.other = math.sqrt
    with with_symbols():
        assert not hasattr(module, "root")
    assert module.other is OWN["sqrt"]


def test_the_names_of_a_module_that_is_gone_are_nobody_elses(module: ModuleType) -> None:
    with with_symbols():
        pass
    again = ModuleType("size_helpers")
    again.__file__ = module.__file__
    again.power = math.sqrt
    sys.modules["size_helpers"] = again
    with with_symbols():
        assert again.power is math.sqrt is not OWN["sqrt"]
    assert again.power is OWN["sqrt"]
