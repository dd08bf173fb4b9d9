"""Collect TensorRT's log for error messages: on failure TensorRT returns None and logs the reason."""

from __future__ import annotations

import logging
import threading
from typing import Any

_MOST = 20
"""The most lines that an error message carries."""

_logger = logging.getLogger("enginebundle")


class Log:
    """TensorRT's errors, by the thread that caused them. Every message also goes to Python's logging."""

    def __init__(self) -> None:
        self._local = threading.local()

    def collect(self) -> list[str]:
        """A list that collects this thread's errors from now on, until the next call."""
        lines: list[str] = []
        self._local.lines = lines
        return lines

    def add(self, severity: str, message: str) -> None:
        """Take one message from TensorRT."""
        level = logging.WARNING if severity in ("ERROR", "INTERNAL_ERROR") else logging.DEBUG
        _logger.log(level, "TensorRT %s: %s", severity.lower(), message)
        lines = getattr(self._local, "lines", None)
        if lines is not None and level == logging.WARNING and len(lines) < _MOST:
            lines.append(" ".join(message.split()))


def make_logger(trt: Any, log: Log) -> Any:
    """An `ILogger` of the module `trt` that passes every message to `log`."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.add(severity.name, message)

    return Logger()
