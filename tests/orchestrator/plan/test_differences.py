"""The fields in which two identities differ, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginebundle.format.digest import canonical_json
from orchestrator.plan.differences import ABSENT, Difference, differences

A = {
    "step": "build",
    "spec": {"min_nodes": 3, "profiles": [{"name": "p", "ranges": {"b": [1, 2, 4]}}]},
    "upstream": {"trace": {"program": "sha256:1"}},
}


def test_equal_identities_have_no_differences() -> None:
    assert differences(A, copy.deepcopy(A)) == []


def test_each_difference_is_named_with_both_values() -> None:
    b = copy.deepcopy(A)
    b["spec"]["profiles"][0]["ranges"]["b"][2] = 8
    b["spec"]["precision"] = "fp16"
    b["upstream"]["trace"]["program"] = "sha256:2"
    assert differences(A, b) == [
        Difference("spec.precision", ABSENT, "fp16"),
        Difference("spec.profiles[0].ranges.b[2]", 4, 8),
        Difference("upstream.trace.program", "sha256:1", "sha256:2"),
    ]
    assert str(differences(A, b)[1]) == "spec.profiles[0].ranges.b[2]: 4 -> 8"


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        ({"x": None}, {}, "x"),
        ({"x": 1}, {"x": True}, "x"),
        ({"x": 1}, {"x": 1.0}, "x"),
        ({"x": []}, {"x": {}}, "x"),
        ({"x": [1]}, {"x": [1, 2]}, "x[1]"),
        ({"build/rtx:sm_89/p": 1}, {"build/rtx:sm_89/p": 2}, "['build/rtx:sm_89/p']"),
    ],
)
def test_small_differences_count(a: Any, b: Any, path: str) -> None:
    assert [difference.path for difference in differences(a, b)] == [path]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@settings(deadline=None)
@given(_json, _json)
def test_no_differences_means_equal_and_the_order_of_sides_is_kept(a: Any, b: Any) -> None:
    there, back = differences(a, b), differences(b, a)
    assert (not there) == (canonical_json(a) == canonical_json(b))
    assert [(d.path, d.b, d.a) for d in there] == [(d.path, d.a, d.b) for d in back]
