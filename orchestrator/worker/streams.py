"""What a step says: its output, which is kept in bounds, and its reply, which comes through a pipe of its own."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

HEAD, TAIL = 1 << 18, 3 << 18
"""Bytes of a log that are kept of its beginning and of its end."""
_REPLY = 64 << 20
"""Bytes that a reply may have."""
_PIECE = 1 << 16
_LAST = 2.0
"""Seconds for reading what is left in the pipes, once all processes of the step are gone."""


class Streams:
    """Reads both pipes in a thread of its own, so that a step never waits for us."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._output, self.output = os.pipe()
        self._answer, self.answer = os.pipe()
        self._stop, self._stopped = os.pipe()
        self._head, self._tail, self._left_out = bytearray(), bytearray(), 0
        self._reply = bytearray()
        self._open = {self._output, self._answer}
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        """The child has its ends: close ours, and read."""
        os.close(self.output)
        os.close(self.answer)
        self._thread.start()

    def finish(self) -> bytes:
        """Read what is left, write the log; returns all that came through the pipe for the reply.

        Empty if it was more than a reply may be.
        """
        os.close(self._stopped)
        self._thread.join()
        for end in (self._output, self._answer, self._stop):
            os.close(end)
        self._cut()
        note = b"\n... %d bytes left out ...\n" % self._left_out if self._left_out else b""
        self._log.write_bytes(self._head + note + self._tail)
        return bytes(self._reply) if len(self._reply) <= _REPLY else b""

    def _read(self) -> None:
        poll = select.poll()
        for end in (self._output, self._answer, self._stop):
            poll.register(end, select.POLLIN | select.POLLHUP)
        deadline: float | None = None
        while self._open:
            ready = {end for end, _ in poll.poll(None if deadline is None else 0)}
            if self._stop in ready:
                poll.unregister(self._stop)
                deadline = time.monotonic() + _LAST
            pipes = ready - {self._stop}
            if deadline is not None and (time.monotonic() > deadline or not ready):
                return  # a process that escaped may hold the pipes: what it writes is not for us
            for end in pipes:
                data = os.read(end, _PIECE)
                if not data:
                    poll.unregister(end)
                    self._open.discard(end)
                elif end == self._answer:
                    if len(self._reply) <= _REPLY:
                        self._reply += data
                else:
                    self._keep(data)

    def _keep(self, data: bytes) -> None:
        room = HEAD - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * TAIL:
            self._cut()

    def _cut(self) -> None:
        over = len(self._tail) - TAIL
        if over > 0:
            self._left_out += over
            del self._tail[:over]


def parts(said: bytes, token: str) -> tuple[Any, Any]:
    """What came through the pipe for the reply: that, and the record of what the step read; None for what is missing.

    Each follows a token, and the last of its kind counts: anything before it was written by the step's own code.
    """
    reply = record = None
    for part in said.split(token.encode())[1:]:
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("record"), dict):
            record = found["record"]
        else:
            reply = found
    return reply, record
