"""A fixed share of the unusual arguments; `make fuzz` judges 5,000."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_flatten

from tests.fuzz.arguments import Operator, judge, share, variants
from tests.fuzz.undefined import undefined
from tests.opinfo.samples import Call, Sample, samples


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


def test_a_seed_gives_other_samples_and_other_numbers() -> None:
    first, second, again = (Operator("sort", seed=seed).todo() for seed in (0, 1, 1))
    assert [v.id for v in second] == [v.id for v in again]
    assert [v.id for v in first] != [v.id for v in second]
    assert all(torch.equal(a.tensors[0], b.tensors[0]) for a, b in zip(second, again, strict=True))


def test_only_the_variations_that_are_named() -> None:
    found = Operator("sort", only=("sort+empty",)).todo()
    assert found
    assert all(v.id.startswith("sort+empty/float32/") for v in found)


X = torch.tensor([3.0, 1.0, 2.0, 5.0])
F = torch.nn.functional
UNDEFINED = {
    "grows": (lambda x: x.resize_(3, 3), X, "uninitialised memory"),
    "grows like another": (lambda x: x.clone().resize_as_(torch.ones(2, 3)), X, "uninitialised"),
    "made": (lambda x: torch.empty_like(x).add(x), X, "uninitialised memory"),
    "made of integers": (lambda x: x.new_empty(3, dtype=torch.int64), X, "uninitialised memory"),
    "finds": (lambda x: torch.searchsorted(x, 2.5), X, "not sorted"),
    "finds many": (lambda x: torch.searchsorted(x, torch.ones(2), right=True), X, "not sorted"),
    "finds in rows": (lambda x: torch.searchsorted(x.reshape(2, 2), x.reshape(2, 2)), X, "not sorted"),
    "bins": (lambda x: torch.bucketize(torch.ones(3), x), X, "not sorted"),
    "wrong sorter": (lambda x: torch.searchsorted(x, 2.5, sorter=x.argsort(descending=True)), X, "not sorted"),
    "unshuffles nothing": (lambda x: F.pixel_unshuffle(x, 3), torch.ones(0, 1, 6, 6), "contradicts"),
    "unshuffles no channels": (lambda x: F.pixel_unshuffle(x, 2), torch.ones(2, 0, 4, 4), "contradicts"),
}  # fmt: skip
DEFINED = {
    "shrinks": (lambda x: x.resize_(3), X),
    "made and written": (lambda x: torch.empty_like(x).copy_(x), X),
    "NaN by itself": (lambda x: x.sub(9).log(), X),
    "the largest integer": (lambda x: torch.full_like(x, 2**31 - 1, dtype=torch.int32), X),
    "finds with a sorter": (lambda x: torch.searchsorted(x, 2.5, sorter=x.argsort()), X),
    "finds in equals": (lambda x: torch.searchsorted(x.clamp(max=1), x), X),
    "bins of sorted": (lambda x: torch.bucketize(x, x.sort().values), X),
    "finds in nothing": (lambda x: torch.searchsorted(x, 2.5), X[:0]),
    "unshuffles": (lambda x: F.pixel_unshuffle(x, 3), torch.ones(1, 1, 6, 6)),
    "shuffles nothing": (lambda x: F.pixel_shuffle(x, 3), torch.ones(0, 9, 6, 6)),
    "data decide the size": (torch.nonzero, X),
}  # fmt: skip


def sample_of(function, tensor) -> Sample:
    return Sample(
        "made up", "float32", 0, Call(function, *tree_flatten((tensor, (), {}))), (tensor,)
    )


@pytest.mark.parametrize("name", UNDEFINED)
def test_what_eager_torch_leaves_open_is_excluded_with_its_reason(name) -> None:
    function, tensor, reason = UNDEFINED[name]
    assert reason in undefined(sample_of(function, tensor))


@pytest.mark.parametrize("name", DEFINED)
def test_what_eager_torch_defines_is_judged(name) -> None:
    assert undefined(sample_of(*DEFINED[name])) == ""


@pytest.mark.parametrize("op", ["sparse.mm.reduce", "sparse.sampled_addmm"])
def test_sparse_samples_are_not_varied(op) -> None:
    assert samples(op, "float32")
    assert Operator(op).todo() == []
