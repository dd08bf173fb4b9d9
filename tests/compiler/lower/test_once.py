"""What torch is spared while it decomposes changes nothing that it computes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._C import DispatchKey
from torch._export import utils
from torch._ops import OperatorBase
from torch.export import exported_program

from compiler.lower.once import done_once

ATEN = torch.ops.aten
OURS = ATEN.linear.default


def composites() -> dict[object, object]:
    split = exported_program._split_decomp_table_to_cia_and_python_decomp
    return split({OURS: torch.nn.functional.linear})[0]


def registered() -> dict[str, list[str]]:
    """By operator, the keys that torch has rules for while it decomposes."""
    found = composites()
    with exported_program._override_composite_implicit_decomp(found):
        return {str(op): sorted(map(str, op.py_kernels)) for op in found}


def test_the_same_operators_get_the_same_rules() -> None:
    torchs = registered()
    with done_once():
        mine = registered()
    assert mine == torchs
    assert len(mine) > 100
    assert registered() == torchs


def test_torch_is_as_it_was_after_it_also_after_a_failure() -> None:
    before = OperatorBase.py_impl, utils._materialize_cpp_cia_ops
    with done_once():
        assert OperatorBase.py_impl is not before[0]
    with pytest.raises(KeyError), done_once():
        raise KeyError
    assert (OperatorBase.py_impl, utils._materialize_cpp_cia_ops) == before


def test_of_two_threads_one_waits_for_the_other() -> None:
    before = OperatorBase.py_impl, utils._materialize_cpp_cia_ops
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with done_once():
            inside.set()
            assert leave.wait(60)

    def second() -> None:
        with done_once():
            assert leave.is_set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert inside.wait(60)
        other = pool.submit(second)
        assert not other.done()
        leave.set()
        one.result(60)
        other.result(60)
    assert (OperatorBase.py_impl, utils._materialize_cpp_cia_ops) == before


@pytest.mark.parametrize(
    ("key", "error"),
    [(DispatchKey.AutogradCPU, RuntimeError), (DispatchKey.Python, AssertionError)],
)
def test_what_torch_refuses_to_register_stays_refused(
    key: DispatchKey, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OURS, "py_kernels", {DispatchKey.AutogradCPU: len})
    with done_once(), pytest.raises(error):
        OURS.py_impl(key)(len)


def test_other_rules_than_those_of_dispatch_keys_are_torchs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        pass

    monkeypatch.setattr(OURS, "python_key_table", {})
    with done_once():
        OURS.py_impl(Mode)(len)
    assert OURS.python_key_table == {Mode: len}


def test_an_operator_that_came_since_is_seen_the_next_time() -> None:
    with torch.library._scoped_library("kilnonce", "FRAGMENT") as library:
        for name in ("first", "second"):
            library.define(f"{name}(Tensor x) -> Tensor")
            library.impl(name, lambda x: x + 1, "CompositeImplicitAutograd")
            with done_once():
                assert f"kilnonce.{name}.default" in map(str, composites())
