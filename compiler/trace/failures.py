"""Why an export fails, in words that name the user's line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from compiler.refused import first_lines
from compiler.trace.examples import TraceRefused

_TORCH = Path(torch.__file__).parent


def user_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost frame outside torch, Python and this package: the user's own line."""
    here = Path(__file__).parents[1]
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if _TORCH in path.parents or here in path.parents or frame.filename.startswith("<"):
            continue
        if "/contextlib.py" not in frame.filename and "/functools.py" not in frame.filename:
            found = frame
    return found


def is_data_dependent(error: BaseException) -> bool:
    return any("DataDependent" in type(e).__name__ for e in _chain(error)) or (
        "data-dependent" in str(error)
    )


def data_dependent(error: BaseException) -> TraceRefused:
    return TraceRefused(
        "data_dependent",
        f"control flow depends on a tensor's values{place(error)}: {first_lines(error, 1)}",
        "express the choice with torch.where or torch.cond, or move it out of the model. "
        "Every target needs the export: the model can run as torch:cpu only if it exports",
    )


def export_refused(error: Exception, named: Exception) -> TraceRefused:
    if is_data_dependent(error):
        return data_dependent(error)
    return TraceRefused(
        "export",
        f"torch.export refuses the model{place(error)}: {first_lines(error)}"
        f"\nwith named dimensions: {first_lines(named, 6)}",
        "narrow the profiles as the guard asks, make the dimension a number, "
        "or change the line it names. Every target, torch:cpu too, needs the export",
    )


def place(error: BaseException) -> str:
    for one in _chain(error):
        frame = user_frame(one)
        if frame is not None:
            return f" at {frame.filename}:{frame.lineno} in {frame.name}: `{frame.line}`"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
