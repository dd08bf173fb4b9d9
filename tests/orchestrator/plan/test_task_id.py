"""An id's text and its parts say the same."""

from __future__ import annotations

import pytest

from enginebundle.format.spec import Target
from orchestrator.plan.task_id import TaskId

CPU, PAIR = Target.parse("torch:cpu"), Target.parse("rtx:sm_86+sm_89")
IDS = {
    "m/trace": TaskId("m", "trace"),
    "m.v2-x/publish": TaskId("m.v2-x", "publish"),
    "m/build/torch:cpu": TaskId("m", "build", CPU),
    "m/build/rtx:sm_86+sm_89/short": TaskId("m", "build", PAIR, "short"),
}


@pytest.mark.parametrize("text", IDS)
def test_text_and_parts(text: str) -> None:
    assert str(IDS[text]) == text
    assert TaskId.parse(text) == IDS[text]
    assert f"{IDS[text].model}/{IDS[text].role}" == text
    assert "/" not in IDS[text].file_name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m", "task 'm': expected <model>/<step>"),
        ("/trace", "expected <model>/<step>"),
        ("m/compile", "expected <model>/<step>"),
        ("m/build/torch:cpu/p/q", "expected <model>/<step>"),
        ("m/build/cpu", "task 'm/build/cpu': "),
    ],
)
def test_what_is_no_id_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskId.parse(text)
