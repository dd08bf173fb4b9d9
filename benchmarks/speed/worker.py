"""A process that measures one row after another, and its parent's side of the talk.

TensorRT takes seconds to make a Builder, so a process does many rows. One that fails ends it: a wrong
engine can break its CUDA context, and what comes after would fail with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from benchmarks.speed.rows import Key


def serve(work: Callable[[Key], dict[str, Any]]) -> None:
    """For each line of standard input, a key, a line with its row."""
    for line in sys.stdin:
        try:
            row = work(Key(**json.loads(line)))
        except Exception as error:  # noqa: BLE001  a row is the step here, and says what ended it
            row = {"state": "failed", "detail": f"{type(error).__name__}: {error}"[:800]}
        print("\n" + json.dumps({"row": row}), flush=True)


class Worker:
    """The process, started when it is first asked, and again after a row that failed."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[str] | None = None

    def ask(self, key: Key, seconds: float) -> dict[str, Any]:
        """The row; `state` is `cut off` where it takes more than `seconds`, which ends the process."""
        child = self._child or subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(seconds, stop)
        timer.start()
        row: dict[str, Any] = {}
        try:
            child.stdin.write(json.dumps(asdict(key)) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                if line.startswith('{"row"'):
                    row = json.loads(line)["row"]
                    break
        except BrokenPipeError:
            pass
        finally:
            timer.cancel()
        if not row:
            self.end()
            if late.is_set():
                return {"state": "cut off", "detail": f"took over {seconds:.0f} s"}
            return {"state": "failed", "detail": f"the process ended with {child.returncode}"}
        if row["state"] == "failed":
            self.end()
        return row

    def end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


def together(
    command: Sequence[str], keys: Sequence[Key], workers: int, seconds: float
) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Each key's row, from so many processes at a time, until `seconds` are over."""
    end = time.monotonic() + seconds
    todo = deque(keys)

    def work(_: int) -> list[tuple[Key, dict[str, Any]]]:
        one, rows = Worker(command), []
        while todo and time.monotonic() < end:
            key = todo.popleft()
            rows.append((key, one.ask(key, end - time.monotonic())))
        one.end()
        return rows

    with ThreadPoolExecutor(workers) as pool:
        for rows in pool.map(work, range(workers)):
            yield from rows


def ahead(command: Sequence[str], keys: Sequence[Key]) -> subprocess.Popen[str]:
    """Start a process that does, without a GPU and on one thread, what the rows will need."""
    own = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=own
    )
    assert child.stdin is not None
    # A pipe holds 64 KiB, some 700 keys: this does not wait for the child.
    child.stdin.write("".join(json.dumps(asdict(key)) + "\n" for key in keys[:400]))
    child.stdin.close()
    return child
