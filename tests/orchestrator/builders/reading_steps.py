"""A step that runs a user's module, recorded: called with (step, spec, upstream, store uri)."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from orchestrator.worker.recording.window import window


def read(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """Import the entrypoint and return what it returns, as text."""
    module, _, name = spec["source"]["entrypoint"].partition(":")
    with window():
        sys.path[:0] = spec["source"]["search_path"]
        return {"value": str(getattr(importlib.import_module(module), name)())}


def read_with_blob(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """The same, with a blob that the module names."""
    output = read(step, spec, upstream, store)
    return output | {"graph": importlib.import_module("own").BLOB}


def without_notifications(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """The same where the kernel offers none."""
    from orchestrator.worker.recording import window as module

    module.this_machine = lambda: None  # as on a processor without a table of calls
    return read(step, spec, upstream, store)
