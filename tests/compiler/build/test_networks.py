"""A converter that accepts a node and then fails on it: the node runs in torch and the report says why, unless
everything was to be compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.build.networks import BuildRequest
from compiler.convert.interpret import ConversionError
from compiler.goldens.goldens import GoldenSource
from compiler.pipeline import Traced, TraceRequest, convert_program, trace_model
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.spec import Profile, Range, Target, TensorSpec

EXAMPLES = (str(Path(__file__).parents[1] / "replace"),)
PROFILES = (Profile("p", (("b", Range(1, 4, 8)),)),)
WAYS = {
    "gelu_raising": "its converter raised AttributeError",
    "gelu_twice": "expected 1 results, got 2",
    "gelu_of_another_type": "expected dtype float32, got torch.float16",
    "gelu_of_another_rank": "expected shape",
    "gelu_of_nothing": "no converter for gelu",
}


@pytest.fixture(scope="module")
def made() -> Traced:
    source = Source("replace_examples:plain", search_path=EXAMPLES)
    inputs = (TensorSpec("x", "float32", ("b", 8)),)
    return trace_model(TraceRequest(source, inputs, PROFILES, GoldenSource(seed=0, cases=1)))


def request(way: str, *, whole: bool) -> BuildRequest:
    failing = Replacement("operator", "aten.gelu", "converter", f"replace_examples:{way}")
    return BuildRequest(
        Target("rtx", ("sm_89",)), PROFILES, replace=(failing,), search_path=EXAMPLES,
        require_full_compilation=whole,
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_node_runs_in_torch_and_the_report_says_why(made: Traced, way: str) -> None:
    parts = convert_program(made.program, request(way, whole=False)).parts
    kept = parts.report.kept
    assert [one.op for one in kept] == ["aten.gelu.default"] * 2
    assert all(WAYS[way] in one.reason.detail for one in kept)
    assert {segment.kind for segment in parts.segments} == {"engine", "torch_graph"}


@pytest.mark.parametrize("way", WAYS)
def test_where_everything_is_to_be_compiled_the_cause_is_raised(made: Traced, way: str) -> None:
    with pytest.raises(ConversionError) as raised:
        convert_program(made.program, request(way, whole=True))
    assert WAYS[way] in str(raised.value)
    assert "aten.gelu.default" in str(raised.value)
    assert "replace_examples.py" in str(raised.value), "the line of the model"
