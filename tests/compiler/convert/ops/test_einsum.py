"""Einsum notation against eager torch."""

from __future__ import annotations

import pytest
import torch

from compiler.convert.ops.einsum import parse
from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

EQUATIONS = [
    ("ij,jk->ik", ("n", 3), (3, 4)), ("ij,jk", ("n", 3), (3, 4)), ("bij,bkj->bik", ("n", 3, 4), ("n", 5, 4)),
    ("bhid,bhjd->bhij", ("n", 2, "n", 4), ("n", 2, 5, 4)), ("...ij,jk->...ik", ("n", 2, 3), (3, 4)),
    ("b...d,d->b...", ("n", 2, 3), (3,)), ("i,j->ij", ("n",), (3,)), ("i,i->", ("n",), ("n",)),
    ("ij,ij->ij", ("n", 3), ("n", 3)), ("ij,ij->i", ("n", 3), ("n", 3)), ("ij->ji", ("n", 3), None),
    ("ij->", ("n", 3), None), ("ii->i", ("n", "n"), None), ("ii", ("n", "n"), None),
    ("bhwc,hkc->bhwk", ("n", 2, 3, 4), (2, 5, 4)), ("abcd,cdef->abef", ("n", 2, 3, 4), (3, 4, 2, 2)),
    ("i j , j k -> i k", ("n", 3), (3, 4)), ("Ab,bC", ("n", 3), (3, 4)), ("ij,jk->ik", ("n", 1), (3, 4)),
    ("...,...", ("n", 1), (1, 3)), ("iij,jk->ik", ("n", "n", 3), (3, 4)), ("ij,kl->jk", ("n", 3), (2, 4)),
]  # fmt: skip
OP = "aten.einsum.default"
CASES = [
    *[Case(OP, call(e, [x(*a)] if b is None else [x(*a), x(*b)]), name=f"{k}:{e}", atol=1e-3, rtol=1e-4)
      for k, (e, a, b) in enumerate(EQUATIONS)],
    Case(OP, call("ij,jk,kl->il", [x("n", 3), x(3, 4), x(4, 2)]), name="three", atol=1e-3, rtol=1e-4),
    Case(OP, call("ij,jk->ik", [below(9, "n", 3), below(9, 3, 4)]), name="int"),
    Case(OP, call("ij,jk->ik", [x("n", 3, dtype=torch.float16), x(3, 4, dtype=torch.float16)]), name="half",
         atol=5e-2, rtol=1e-2),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)


@pytest.mark.parametrize(
    ("equation", "ranks", "wanted"),
    [
        ("ba", [2], ("a", "b")),
        ("b...a", [4], ("1", "0", "a", "b")),
        ("aB,b", [2, 1], ("B", "a", "b")),
    ],
)
def test_an_implicit_result_is_sorted(equation: str, ranks: list[int], wanted: tuple[str]) -> None:
    assert parse(equation, ranks)[1] == wanted
