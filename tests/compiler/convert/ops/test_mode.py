"""The most frequent number: ties, kept dims, floats."""

from __future__ import annotations

from tests.compiler.convert.calls import below, call, x
from tests.compiler.convert.harness import Case, parametrize, run

CASES = [
    Case("aten.mode.default", call(below(4, "n", 9))),
    Case("aten.mode.default", call(below(3, "n", 5, 4), 1, True), name="keep"),
    Case("aten.mode.default", call(lambda n: below(3, "n", 6)(n).float(), 0), name="float"),
    Case("aten.mode.default", call(x()), name="0-d", static=True),
]  # fmt: skip


@parametrize(CASES)
def test_histogram(case: Case) -> None:
    run(case)
