"""Refusals quote the errors behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.refused import with_causes
from compiler.trace.load import ModelRefused, load_function, load_model
from compiler.trace.source import Source
from orchestrator.worker.child import describe


def raised(*errors: Exception, explicit: bool = True) -> Exception:
    """The last error, raised from the one before, and so on."""
    before: Exception | None = None
    for error in errors:
        if explicit:
            error.__cause__ = before
        else:
            error.__context__ = before
        before = error
    assert before is not None
    return before


def test_every_link_is_told_from_the_last_to_the_first() -> None:
    errors = OSError("libcuda.so.1: no such file"), ImportError("no CUDA"), RuntimeError("failed")
    want = "RuntimeError: failed, caused by ImportError: no CUDA, caused by OSError: libcuda.so.1: no such file"
    assert with_causes(raised(*errors)) == want
    assert with_causes(raised(*errors, explicit=False)) == want
    assert with_causes(ValueError("alone")) == "ValueError: alone"


def test_what_was_suppressed_or_goes_in_a_circle_is_not_told() -> None:
    hidden = raised(OSError("detail"), ValueError("clear"), explicit=False)
    hidden.__suppress_context__ = True
    assert with_causes(hidden) == "ValueError: clear"
    circle = ValueError("a")
    circle.__context__ = circle
    assert with_causes(circle) == "ValueError: a"


LAZY = """
def load():
    raise OSError("weights.bin is truncated")
try:
    load()
except OSError as error:
    raise ImportError("could not import the model, see above") from error
"""


@pytest.mark.parametrize("name", ["caused_at_import", "caused_deep"])
def test_an_import_that_fails_shows_its_cause(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(
        LAZY if name == "caused_at_import" else "import _deep_one\n"
    )
    (tmp_path / "_deep_one.py").write_text(LAZY)
    with pytest.raises(
        ModelRefused, match=r"caused by OSError: weights\.bin is truncated"
    ) as caught:
        load_function(f"{name}:make", (str(tmp_path),))
    assert "weights.bin is truncated" in describe(caught.value)[1]


CALL = """
def make():
    try:
        {}["w"]
    except KeyError as error:
        raise ValueError("no model") from error
"""


def test_a_function_that_raises_shows_its_cause(tmp_path: Path) -> None:
    (tmp_path / "caused_by_call.py").write_text(CALL)
    with pytest.raises(ModelRefused, match="ValueError: no model, caused by KeyError: 'w'"):
        load_model(Source("caused_by_call:make", search_path=(str(tmp_path),)))


def test_an_unexpected_exception_in_a_step_shows_its_cause() -> None:
    error = raised(OSError("libcuda.so.1: no such file"), RuntimeError("failed"))
    assert describe(error) == (
        "error", "RuntimeError: failed, caused by OSError: libcuda.so.1: no such file"
    )  # fmt: skip
