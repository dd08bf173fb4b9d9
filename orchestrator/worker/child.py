"""The process that `isolate` starts: a guard, and its child, which runs the step.

The process forks before it imports anything heavy. The fork runs the step. The original remains as a
guard that does nothing but wait, so no native code can keep it from noticing that the lifeline
closed. (There are two, one above the other.) It adopts every process that the step leaves behind, even
those in sessions of their own, and kills them all before it exits.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import traceback
from typing import Any

import psutil

from compiler.refused import Refused, first_lines, with_causes
from enginebundle.errors import BundleError, StoreError
from orchestrator.worker.confine import confine
from orchestrator.worker.recording import window

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MESSAGE = 2000
_LAST = 2.0
_NO_MEMORY = ("can't allocate memory", "out of memory", "std::bad_alloc")


def main() -> int:
    """Read one request from standard input and carry it out. Returns the exit status."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 1
    request = json.loads(line)
    # Two guards, one above the other: code that kills the one that it knows of is swept up by the other.
    session = None
    for inner in (False, True):
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        guard = os.getpid()
        if inner and request["record"]:
            session = window.Session(request["record"])
        child = os.fork()
        if child != 0:
            for end in filter(None, (None if session else request["reply"], request["store"])):
                os.close(end)
            try:
                return _guard(child, session, _LAST if request["record"] and not inner else 0.0)
            finally:
                _sweep()
                if session is not None and (record := session.finish()) is not None:
                    _say(request, {"record": record})
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)  # The guard died before the line above took effect.
    _work(request, session)
    return 1


def _guard(worker: int, session: window.Session | None, patience: float) -> int:
    """Wait until the worker ends or the lifeline closes. Returns the status as a shell would.

    Meanwhile, answer what the kernel asks about the files that the worker reads. `patience`: seconds for a guard
    below to tell what it saw, once the lifeline closed.
    """
    handle = os.pidfd_open(worker)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    asks = session.forked() if session is not None else None
    if asks is not None:
        poll.register(asks, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if handle in ready:
            break
        if sys.stdin.fileno() in ready:
            select.select([handle], (), (), patience)
            return 128 + signal.SIGKILL
        if asks is not None and session is not None:
            following = session.answer(bool(ready[asks] & select.POLLIN))
            if following != asks:
                poll.unregister(asks)
                if following is not None:
                    poll.register(following, select.POLLIN)
                asks = following
    _, status = os.waitpid(worker, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _sweep() -> None:
    """Kill all descendants: orphans become our children, so in the end we see them all."""
    while True:
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _work(request: dict[str, Any], session: window.Session | None) -> None:
    """In the fork: run the step, write its reply, and leave without running any exit handlers."""
    for end in filter(None, (request["reply"], request["store"])):
        os.set_inheritable(end, False)
    if why := confine(request["hide"], request["keep"], request["users"]):
        print(f"kiln: files that hold secrets are not hidden from this step: {why}", flush=True)
    window.arm(session, () if why else request["hide"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    limit = request["data_limit"]
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if limit is not None and (hard == resource.RLIM_INFINITY or limit < hard):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:0] = request["path"]
    status = 1
    try:
        reply = {"output": _call(request)}
        text = json.dumps(reply, allow_nan=False)
        status = 0
    except Exception as error:  # noqa: BLE001 - the one place where any exception becomes a value
        traceback.print_exc()
        code, message = describe(error)
        text = json.dumps({"code": code, "message": message})
    except SystemExit as error:
        traceback.print_exc()
        text = json.dumps({"code": "error", "message": f"the step called exit({error.code!r})"})
    if (record := window.finish()) is not None:
        _say(request, {"record": record})
    _reply(request, text)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _say(request: dict[str, Any], what: dict[str, Any]) -> None:
    _reply(request, json.dumps(what))


def _reply(request: dict[str, Any], text: str) -> None:
    view = memoryview((request["token"] + text).encode())
    while view:
        view = view[os.write(request["reply"], view) :]


def _call(request: dict[str, Any]) -> Any:
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    return function(*request["arguments"])


def describe(error: BaseException) -> tuple[str, str]:
    """(code, message) of an exception.

    A refusal of the compiler has a `code`, a `message` and a `remedy`, which are used as they are. The
    code of a loader's error follows from its name. Everything else is "error" with the exception's
    type, except for exhausted memory and a lost store.
    """
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, Refused):
        message = str(error.message)
        if error.remedy and error.remedy not in message:
            message = f"{message}; {error.remedy}"
        return error.code, message[:_MESSAGE]
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "memory", f"ran out of memory: {type(error).__name__}: {text}"[:_MESSAGE]
    if isinstance(error, StoreError | ConnectionError):
        return "infra", f"{type(error).__name__}: {text}"[:_MESSAGE]
    code = _words(type(error).__name__) if isinstance(error, BundleError) else "error"
    led = with_causes(error).removeprefix(first_lines(error))
    return code, f"{type(error).__name__}: {text}{led}"[:_MESSAGE]


def _words(name: str) -> str:
    """`NoVariantError` -> `no-variant`: the code of one of the loader's errors."""
    return re.sub(r"(?<=.)(?=[A-Z])", "-", name.removesuffix("Error")).lower()


def _prctl(option: int, value: int) -> None:
    """Works on Linux only; elsewhere the lifeline alone must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
