"""A proxy on loopback that speaks enough HTTP to lose, cut, delay, repeat and refuse what passes through it.

`plan` is asked about each request (its method and path), and names what happens to it:

    ""              it passes
    "drop"          the connection is reset before the server sees it
    "lose"          the server carries it out, and the connection is reset before a byte of the answer
    "cut"           the connection is reset in the middle of the answer
    "repeat"        the server gets it a second time, and the second answer counts
    "500", "503"    this answer, and the server never sees it
    "500 after"     this answer, after the server carried it out
    "silence"       nothing is said until the client goes away
    "slow"          it passes after a second
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

Plan = Callable[[str, str], str]
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on `port` and passes on to `upstream`. `happened` lists (fault, method, path)."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.plan: Plan = lambda method, path: ""
        self.happened: list[tuple[str, str, str]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError), client.makefile("rb") as lines:
            while True:
                head, body = _message(lines)
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                fault = self.plan(method, path)
                if fault:
                    self.happened.append((fault, method, path))
                if not self._carry(client, fault, method, head + body):
                    return

    def _carry(self, client: socket.socket, fault: str, method: str, request: bytes) -> bool:
        """Carry out one request. False if the connection is at an end."""
        if fault == "drop":
            return _reset(client)
        if fault == "silence":
            client.recv(1)
            return False
        if fault in ("500", "503"):
            client.sendall(_refusal(fault))
            return True
        if fault == "slow":
            time.sleep(1)
        answer = self._forward(method, request)
        if fault == "repeat":
            answer = self._forward(method, request)
        if fault == "lose":
            return _reset(client)
        if fault == "cut":
            client.sendall(answer[: len(answer) * 2 // 3])
            time.sleep(0.05)  # a reset overtakes what is still on its way
            return _reset(client)
        client.sendall(_refusal("500") if fault == "500 after" else answer)
        return True

    def _forward(self, method: str, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.upstream)) as server:
            server.sendall(request)
            with server.makefile("rb") as lines:
                while True:
                    head, body = _message(lines, no_body=method == "HEAD")
                    if not head.startswith(b"HTTP/1.1 1"):
                        return head + body


def _message(lines: BinaryIO, no_body: bool = False) -> tuple[bytes, bytes]:
    """The head, with its empty line, and the body as it was sent."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = lines.readline()
        if not line:
            raise EOFError
        head += line
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    status = head.split(b" ", 2)[1]
    if no_body or (head.startswith(b"HTTP") and status in (b"204", b"304")):
        return head, b""
    if fields.get(b"transfer-encoding", b"").strip() == b"chunked":
        body = bytearray()
        while True:
            size = lines.readline()
            chunk = lines.read(int(size.split(b";")[0], 16) + 2)
            body += size + chunk
            if size.split(b";")[0].strip(b"\r\n0") == b"":
                return head, bytes(body)
    return head, lines.read(int(fields.get(b"content-length", b"0")))


def _refusal(status: str) -> bytes:
    words = {"500": "Internal Server Error", "503": "Service Unavailable"}[status]
    return f"HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\n\r\n".encode()


def _reset(client: socket.socket) -> bool:
    """Let the connection end in a reset, once it is closed."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return False


@contextmanager
def between(upstream: int) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
