"""A fixed share of the unusual arguments; `make fuzz` judges 5,000."""

from __future__ import annotations

from tests.fuzz.arguments import Operator, judge, share, variants
from tests.opinfo.samples import samples


def test_nothing_but_a_refusal_leaves_the_compiler() -> None:
    verdicts = list(share(60))
    assert len(verdicts) == 60
    bad = [v for v in verdicts if v.state in ("wrong", "untyped")]
    assert not bad, bad
    assert sum(v.state in ("converted", "decomposed") for v in verdicts) > 20


def test_an_explicit_none_is_among_them_and_is_no_error() -> None:
    named = {
        sample.op.partition("+")[2]: sample for sample in Operator("div.no_rounding_mode").todo()
    }
    assert {"scalar", "empty", "strided", "rounding_mode=None"} <= named.keys()
    assert judge(named["rounding_mode=None"]).state in ("converted", "decomposed")


def test_variations_are_the_same_in_every_run() -> None:
    first, second = (
        [v.id for s in samples("sort", "float32", 2) for v in variants(s)] for _ in range(2)
    )
    assert first == second
    assert first
