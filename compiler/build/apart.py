"""Builds engines in a process of its own, so that a builder which dies takes nothing with it.

    with contextlib.closing(Apart()) as apart:
        apart.make_engine(trt, network, graph, options, store, bindings) -> Made

The process is `python -m compiler.build.apart_child`. It starts with the first build, builds one engine
after another, and ends when we do, or for want of work. A network goes to it through a file in a private folder,
which the process maps instead of reading, and an engine comes back the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch

from compiler.build.options import BuildRefused, EngineOptions, Made
from compiler.build.replay import Proved, ReplayRefused
from compiler.network.network import Network
from compiler.network.refit import Bindings
from enginebundle.format.graph import Graph
from enginebundle.storage.store import Store

DIED = "died"
"""The code of a refusal that says that the process died."""

GIVEN, MADE = "given", "made"
"""The files in the folder that both processes share: what to build, and the engine."""

_PRINTED = "printed"
"""The file with what the process prints."""
_LAST = 300
"""Characters of what a process that died printed last."""


class Apart:
    """A process that builds. It starts with the first build, which costs the seconds of an import of torch."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kiln-apart-")
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._child: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the process. A later build starts another."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def make_engine(
        self, trt: Any, network: Network, graph: Graph, options: EngineOptions,
        store: Store | None = None, bindings: Bindings | None = None, seconds: float | None = None,
        replay: Proved | None = None,
    ) -> Made:  # fmt: skip
        """As `builder.make_engine`, with the aids `store` and `replay`.

        Raises ReplayRefused, and BuildRefused, also with code `died`: the process died, or took longer than
        `seconds`.
        """
        if os.getpid() != self._owner:  # forked: the pipes are our parent's
            with contextlib.closing(Apart()) as own:
                return own.make_engine(
                    trt, network, graph, options, store, bindings, seconds, replay
                )
        device = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        request = {
            "module": trt.__name__, "folder": self._folder.name, "device": device,
            "store": None if store is None else store.uri,
        }  # fmt: skip
        given, made = (Path(self._folder.name) / name for name in (GIVEN, MADE))
        with self._lock:
            try:
                torch.save((network, graph, options, bindings, replay), given)
                reply = self._ask(json.dumps(request).encode() + b"\n", trt.__name__, seconds)
                if "code" in reply:
                    refused = reply["code"], reply["message"], reply["remedy"]
                    if reply["node"] is None:
                        raise ReplayRefused(*refused)
                    raise BuildRefused(*refused, reply["node"])
                return Made(memoryview(made.read_bytes()), reply["notes"])
            finally:  # they are as large as the weights, and a process that compiles may live for long
                given.unlink(missing_ok=True)
                made.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        with (Path(self._folder.name) / _PRINTED).open("wb") as printed:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "compiler.build.apart_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                # What this process can import, the other one can; it must not find other code.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                start_new_session=True,  # a Ctrl-C is for us; we end it
            )

    def _ask(self, request: bytes, module: str, seconds: float | None) -> dict[str, Any]:
        fresh = self._child is None or self._child.poll() is not None
        if fresh:
            self._child = self._start()
        child, late = self._child, False
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.writelines([request])
            child.stdin.flush()
        if seconds is not None:
            late = not select.select([child.stdout], [], [], seconds)[0]
        answer = b"" if late else child.stdout.readline()
        if answer:
            return dict(json.loads(answer))
        self.close()
        if child.returncode == 0 and not fresh:  # it had just ended, for want of work
            return self._ask(request, module, seconds)
        why = f"took longer than {seconds:g} s" if late else _death(child.returncode)
        printed = (Path(self._folder.name) / _PRINTED).read_text(errors="replace")
        said = " ".join(printed.split())[-_LAST:]
        raise BuildRefused(
            DIED, f"the process in which {module} built an engine {why}{': ' if said else ''}{said}",
            "leave the nodes that it dies of in torch with torch_executed_ops",
        )  # fmt: skip


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"
