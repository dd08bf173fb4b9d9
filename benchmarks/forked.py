"""Run a function in a fork of this process, within a time limit. A failure becomes a value.

In a fork everything is already imported, so a hundred models do not import torch a hundred times.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failed:
    """What ended the function: an exception's class, code (if any) and text, a time limit, or a signal."""

    kind: str
    code: str
    message: str


def run_forked(function: Callable[[], Any], limit: float) -> Any:
    """The function's result, or Failed. What it prints is discarded. `limit` is in seconds."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(function, sender))
    child.start()
    sender.close()
    try:
        # EOFError: the child died without sending anything.
        result = receiver.recv() if receiver.poll(limit) else Failed("Timeout", "", f"{limit:g} s")
    except EOFError:
        child.join()
        result = Failed("Died", "", f"exit code {child.exitcode}")
    child.kill()
    child.join()
    return result


def _child(function: Callable[[], Any], sender: multiprocessing.connection.Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, sys.stdout.fileno())
    os.dup2(quiet, sys.stderr.fileno())
    try:
        sender.send(function())
    except Exception as error:  # noqa: BLE001  a model and what it calls raise anything
        sender.send(Failed(type(error).__name__, getattr(error, "code", ""), str(error)))
