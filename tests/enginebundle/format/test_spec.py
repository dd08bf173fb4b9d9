"""Values that refuse what makes no sense."""

from __future__ import annotations

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.spec import AMPERE_PLUS, Target, Tolerance


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_is_a_finite_number_from_zero(bound: float) -> None:
    with pytest.raises(FormatError, match="expected finite numbers of at least 0"):
        Tolerance(bound, 0.0)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("trt:sm_90", Target("trt", ("sm_90",))),
        ("trt:sm_90_any", Target("trt", ("sm_90",), "same_compute_capability")),
        ("trt:ampere_plus", Target("trt", AMPERE_PLUS, "ampere_plus")),
        ("rtx:sm_80+sm_86", Target("rtx", ("sm_80", "sm_86"))),
    ],
)
def test_a_target_reads_back_as_itself(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    ["rtx:ampere_plus", "rtx:sm_89_any", "torch:cpu_any", "trt:sm_80+sm_90_any", "trt:sm_90_any_any",
     "trt:_any", "trt:sm_90_all", "trt:ampere_plus+sm_75", "trt:sm_90+ampere_plus"],
)  # fmt: skip
def test_a_target_that_is_spelled_otherwise_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Target.parse(text)


def test_ampere_plus_stands_for_all_of_its_architectures() -> None:
    with pytest.raises(FormatError, match="stands for"):
        Target("trt", ("sm_80",), "ampere_plus")
