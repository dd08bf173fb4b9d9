"""Whether anything answers at the address of a Ray cluster. Ray itself would try for a quarter of an hour."""

from __future__ import annotations

import os
import re
import socket

from orchestrator.run.executor import UnreachableError

_SECONDS = 4.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client begins to talk to a gRPC server: HTTP/2's preface, and empty settings."""
_SETTINGS = 4


def answers(address: str) -> None:
    """Return if a gRPC server answers at `HOST:PORT`. UnreachableError with the reason, within ten seconds.

    `auto` and other names that only Ray understands are left to it, and so is a cluster with TLS.
    """
    if address in ("auto", "local"):
        return
    match = re.fullmatch(
        r"(?:ray://)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[\w.-]+)):(?P<port>\d{1,5})", address
    )
    if match is None or int(match["port"]) not in range(1, 65536):
        raise UnreachableError(
            f"--address {address!r}: expected auto, or HOST:PORT of a Ray cluster's head"
        )
    try:
        with socket.create_connection(
            (match["six"] or match["host"], int(match["port"])), _SECONDS
        ) as end:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return
            end.settimeout(_SECONDS)
            end.sendall(_PREFACE)
            head = end.recv(4)
    except OSError as error:
        raise UnreachableError(f"no Ray cluster at {address}: {error}") from error
    if len(head) < 4 or head[3] != _SETTINGS:
        raise UnreachableError(f"what listens at {address} is no Ray cluster's head")
