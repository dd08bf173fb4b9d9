"""Run one step in a fresh process that can crash, hang or exhaust memory without harm to others.

The child is `python -m orchestrator.worker.child`, in a folder and a temporary folder of its own, without
credentials (environment.py). It is lent the store (lend.py), and replies through a pipe (streams.py).
Its standard input is a lifeline: the request comes through it, and when it closes, the child kills
everything it started and then itself. We close it to stop a step, and the kernel closes it when we die,
even by SIGKILL. A cancelled step that tells of its progress is asked first, and gets a moment to end
its work on a GPU in order (progress.py).

To limit memory, we watch the resident memory of the whole process tree. An address-space limit
(RLIMIT_AS) would be simpler but wrong: CUDA and torch reserve far more addresses than they use (a
CUDA context alone takes tens of GB). Between two checks a process could still bring the machine
down, so RLIMIT_DATA, which counts only private writable pages, backs this up with a wide margin;
not for steps on a GPU, whose driver maps memory freely.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from enginebundle.storage.store import Store
from orchestrator.plan.inputs.variables import clean
from orchestrator.worker import environment, progress
from orchestrator.worker.environment import secret_files
from orchestrator.worker.lend import Lender
from orchestrator.worker.lent import SOCKET
from orchestrator.worker.memory import held
from orchestrator.worker.outcome import JSON, STOPPED, Built, Failed
from orchestrator.worker.recording.request import Recording, refused
from orchestrator.worker.streams import Streams, parts

_LOOK = 0.05
"""Seconds between two checks of the tree's memory."""
_GRACE = 5.0
"""Seconds the child gets to clean up before its process group is killed from outside."""
_ASKED = 2.0
"""Seconds that a step has to end by itself once it was asked to stop."""
_TAIL = 4000
"""Characters of the log that a failure carries."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Wall-clock seconds, bytes of resident memory of the whole tree, processor threads."""

    timeout: float = 3600.0
    memory: int = 8 << 30
    threads: int = 1
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function by name (`module:function`) and its JSON arguments; `path` goes before sys.path.

    The function returns a JSON object, which becomes `Built.output`. `step` says what it may do with a
    store that it is lent (lend.py). With `recording`, what it reads inside of `recording.window` is recorded.
    """

    function: str
    arguments: tuple[JSON, ...]
    path: tuple[str, ...] = ()
    step: str = ""
    recording: Recording | None = None


def never() -> bool:
    """For a step that nobody cancels."""
    return False


def ignore(_: dict[str, Any]) -> None:
    """For a step whose progress, or whose reads, nobody wants to know."""


def run(
    call: Call,
    limits: Limits,
    log: Path,
    reproduce: str = "",
    cancelled: Callable[[], bool] = never,
    listen: Callable[[dict[str, Any]], None] = ignore,
    store: Store | None = None,
    read: Callable[[dict[str, Any]], None] = ignore,
) -> Built | Failed:
    """Run `call` in a child process and return how it ended. No failure of the child raises here.

    What the step and its children print goes to the file `log`, its beginning and end if it is much.
    `cancelled` is called at every check; once it returns true, the step is stopped and the outcome is
    Failed("cancelled").
    `listen` is called with what the step tells of its progress. `store` is lent to the step. `read` is
    called with what a recorded step read (recording.observer.Record, as JSON), however it ended.
    """
    token = secrets.token_hex(16)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kiln-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for part in ("work", "tmp", "told"):
            (folder / part).mkdir()
        streams = Streams(log)
        lender = None if store is None else Lender(store, call.step, folder / "lent")
        ends = [streams.answer] + ([] if lender is None else [lender.theirs.fileno()])
        request = {
            "function": call.function,
            "arguments": list(call.arguments),
            "path": list(call.path),
            "token": token,
            "reply": streams.answer,
            "store": None if lender is None else lender.theirs.fileno(),
            "data_limit": None if limits.gpu else 2 * limits.memory + (4 << 30),
            "hide": secret_files(),
            "keep": _folders(store),
            "users": not limits.gpu,
            "record": None if call.recording is None else call.recording.to_json(name),
        }
        read_end, lifeline = os.pipe()  # Not inheritable: no other child keeps the lifeline open.
        with os.fdopen(read_end, "rb") as stdin:
            child = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "orchestrator.worker.child"],
                stdin=stdin,
                stdout=streams.output,
                stderr=subprocess.STDOUT,
                env=_environment(limits, folder, lender),
                cwd=folder / "work",
                pass_fds=ends,
                start_new_session=True,
            )
        streams.start()
        if lender is not None:
            lender.start()
        try:
            _send(lifeline, json.dumps(request).encode() + b"\n")
            watch = progress.Watch(folder / "told", listen)
            stopped, peak = _watch(child, limits, started, cancelled, watch)
        finally:
            os.close(lifeline)
            _reap(child)
            if child.returncode < 0:  # not even the guard could clean up
                _sweep(name)
            said = streams.finish()
            if lender is not None:
                lender.finish()
        seconds = time.monotonic() - started
        reply, record = parts(said, token)

    def failed(code: str, message: str) -> Failed:
        return Failed(code, message, tail(log), reproduce)

    if record is not None:
        read(record)
    match reply:
        case _ if stopped is not None:
            return failed(*stopped)
        case {"output": dict()} | {"code": str()} if record is not None and refused(record):
            return failed("unrecorded", refused(record))
        case {"output": dict() as output}:
            return Built(output, round(seconds, 3), peak)
        case {"code": str() as code, "message": str() as message}:
            return failed(code, message)
    return failed("crashed", _death(child.returncode))


def tail(log: Path) -> str:
    """The last lines of a log file; empty if there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            file.seek(max(0, size - 4 * _TAIL))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    text = text.replace("\0", "")
    return text[-_TAIL:] if len(text) > _TAIL else text


def _environment(limits: Limits, folder: Path, lender: Lender | None) -> dict[str, str]:
    env = clean(os.environ)
    env["PYTHONPATH"] = environment.python_path(os.environ)
    env["PWD"] = str(folder / "work")
    env["TMPDIR"] = str(folder / "tmp")  # What a killed step leaves is deleted with the folder.
    env[progress.FOLDER] = str(folder / "told")
    env.pop(SOCKET, None)
    if lender is not None:
        env[SOCKET] = f"{lender.theirs.fileno()}:{lender.inbox}"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(limits.threads)
    if not limits.gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it unset: a CPU step would see every GPU.
    return env


def _folders(store: Store | None) -> list[str]:
    """The store's folder, which a step reads but must not change; none if the store is elsewhere."""
    local = None if store is None else store.storage.local("store.json")
    return [] if local is None else [str(local.parent)]


def _watch(
    child: subprocess.Popen[bytes],
    limits: Limits,
    started: float,
    cancelled: Callable[[], bool],
    watch: progress.Watch,
) -> tuple[tuple[str, str] | None, int]:
    """Wait until the child ends or hits a limit: (code, message) of that limit, and peak bytes."""
    peak = 0
    while True:
        try:
            child.wait(_LOOK)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None, peak
        watch.look()
        if cancelled():
            if watch.ask_to_stop():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_ASKED)
            return ("cancelled", STOPPED), peak
        used = held(child.pid, limits.memory)
        peak = max(peak, used)
        if used > limits.memory:
            return (
                "memory",
                f"used {_size(used)} of memory, {_size(limits.memory)} allowed; "
                "raise the task's memory or make the model or profile smaller",
            ), peak
        if time.monotonic() - started > limits.timeout:
            return (
                "timeout",
                f"still running after {limits.timeout:g} s and killed; "
                "raise the model's `timeout` if it needs longer",
            ), peak


def _send(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(pipe, view) :]
    except BrokenPipeError:
        return  # It died at once; its exit status says how.


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Wait after the lifeline was closed; if the child does not exit, kill its process group."""
    try:
        child.wait(_GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _sweep(folder: str) -> None:
    """Kill what is left of a step whose guards it killed: the name of its folder is in its environment."""
    mark = f"{progress.FOLDER}={folder}/".encode()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes():
                os.kill(process.pid, signal.SIGKILL)


def _death(status: int) -> str:
    """What an exit status means. The child reports a signal as 128 + its number."""
    number = -status if status < 0 else status - 128
    if number > 0:
        try:
            return f"the step's process died of signal {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"the step's process exited with status {status} and no result"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
