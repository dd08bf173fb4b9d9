"""Run one step in a fresh process that can crash, hang or exhaust memory without harm to others.

The child is `python -m orchestrator.worker.child`. Its standard input is a lifeline: the request
comes through it, and when it closes, the child kills everything it started and then itself. We close
it to stop a step, and the kernel closes it when we die, even by SIGKILL. A cancelled step that tells
of its progress is asked first, and gets a moment to end its work on a GPU in order (progress.py).

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

from orchestrator.worker import progress
from orchestrator.worker.outcome import JSON, RECORDED, STOPPED, Built, Failed

_LOOK = 0.05
"""Seconds between two checks of the tree's memory."""
_GRACE = 5.0
"""Seconds the child gets to clean up before its process group is killed from outside."""
_ASKED = 2.0
"""Seconds that a step has to end by itself once it was asked to stop."""
_TAIL = 4000
"""Characters of the log that a failure carries."""
_RECORD = "record.json"
_LIBRARY = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Limits:
    """Wall-clock seconds, bytes of resident memory of the whole tree, processor threads."""

    timeout: float = 3600.0
    memory: int = 8 << 30
    threads: int = 1
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """How to record. Nothing in the folders `apart` counts. `refuses`: what can't be recorded is stopped."""

    apart: tuple[str, ...] = ()
    refuses: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """A function by name (`module:function`) and its JSON arguments; `path` goes before sys.path.

    The function returns a JSON object, which becomes `Built.output`. With `recording`, what it reads
    inside of `recording.window` is added to that under RECORDED.
    """

    function: str
    arguments: tuple[JSON, ...]
    path: tuple[str, ...] = ()
    recording: Recording | None = None


def never() -> bool:
    """For a step that nobody cancels."""
    return False


def ignore(_: dict[str, Any]) -> None:
    """For a step whose progress nobody wants to know."""


def run(
    call: Call,
    limits: Limits,
    log: Path,
    reproduce: str = "",
    cancelled: Callable[[], bool] = never,
    listen: Callable[[dict[str, Any]], None] = ignore,
) -> Built | Failed:
    """Run `call` in a child process and return how it ended. No failure of the child raises here.

    Everything that the step and its children print goes to the file `log`. `cancelled` is called at
    every check; once it returns true, the step is stopped and the outcome is Failed("cancelled").
    `listen` is called with what the step tells of its progress.
    """
    with tempfile.TemporaryDirectory(prefix="kiln-") as folder:
        result = Path(folder) / "result.json"
        request = {
            "function": call.function,
            "arguments": list(call.arguments),
            "path": list(call.path),
            "result": str(result),
            "data_limit": None if limits.gpu else 2 * limits.memory + (4 << 30),
            "record": _recording(call.recording, folder),
        }
        started = time.monotonic()
        read_end, write_end = os.pipe()  # Not inheritable: no other child keeps the lifeline open.
        with log.open("wb") as output, os.fdopen(read_end, "rb") as stdin:
            child = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "orchestrator.worker.child"],
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(limits, folder),
                start_new_session=True,
            )
        try:
            _send(write_end, json.dumps(request).encode() + b"\n")
            watch = progress.Watch(Path(folder), listen)
            stopped, peak = _watch(child, limits, started, cancelled, watch)
        finally:
            os.close(write_end)
            _reap(child)
        seconds = time.monotonic() - started
        reply = _read(result)
        record = _read(Path(folder) / _RECORD)

    def failed(code: str, message: str) -> Failed:
        return Failed(code, message, tail(log), reproduce)

    if stopped is not None:
        return failed(*stopped)
    if reply is None:
        return failed("crashed", _death(child.returncode))
    if record is not None and record["refused"] and record["unrecorded"]:
        return failed("unrecorded", _unrecorded(record["unrecorded"]))
    if "output" in reply:
        recorded = {} if record is None else {RECORDED: record}
        return Built(reply["output"] | recorded, round(seconds, 3), peak)
    return failed(reply["code"], reply["message"])


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


def _recording(recording: Recording | None, folder: str) -> dict[str, JSON] | None:
    if recording is None:
        return None
    return {
        "file": str(Path(folder) / _RECORD),
        "apart": [folder, *recording.apart],
        "refuses": recording.refuses,
    }


def _unrecorded(what: list[str]) -> str:
    return (
        f"the model's code used {', '.join(what)}, and what comes from there can't be recorded, so "
        "nobody would notice when it changes; do without it while the model is made, or set "
        "`unrecorded: allow` for the model: the plan then names it as unkeyed"
    )


def _environment(limits: Limits, folder: str) -> dict[str, str]:
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [_LIBRARY, env.get("PYTHONPATH")]))
    env[progress.FOLDER] = folder
    env["TMPDIR"] = folder  # What a killed step leaves behind is deleted with the folder.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(limits.threads)
    if not limits.gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it unset: a CPU step would see every GPU.
    return env


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
        used = _memory(child.pid, limits.memory)
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


def _memory(pid: int, cap: int) -> int:
    """Bytes the tree holds. Shared pages are counted once only if it matters, as that costs more."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    resident = sum(_ask(process, shared=True) for process in tree)
    if resident <= cap:
        return resident
    return sum(_ask(process, shared=False) for process in tree)


def _ask(process: psutil.Process, *, shared: bool) -> int:
    try:
        if shared:
            return int(process.memory_info().rss)
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


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


def _read(path: Path) -> dict[str, JSON] | None:
    try:
        reply = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return reply if isinstance(reply, dict) else None


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
