"""Builders that misbehave in every way a builder can."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from typing import Any

from compiler.refused import Refused
from enginebundle.errors import NoVariantError, StoreError


def add(a: int, b: int) -> dict[str, Any]:
    return {"sum": a + b, "devices": os.environ.get("CUDA_VISIBLE_DEVICES")}


def segfault() -> dict[str, Any]:
    print("about to touch address 0", flush=True)
    ctypes.string_at(0)
    return {}


def hang() -> dict[str, Any]:
    while True:
        time.sleep(60)


def hold_the_interpreter() -> dict[str, Any]:
    """Native code that keeps the GIL: no Python thread of this process runs any more."""
    ctypes.PyDLL(None).sleep(1000)
    return {}


def eat(total: int, piece: int = 16 << 20) -> dict[str, Any]:
    held = []
    while sum(map(len, held)) < total:
        held.append(b"x" * piece)
        time.sleep(0.01)
    return {"held": len(held)}


def eat_at_once(total: int) -> dict[str, Any]:
    return {"held": len(b"x" * total)}


def eat_in_grandchildren(total: int, count: int) -> dict[str, Any]:
    code = f"import time; held = b'x' * {total // count}; time.sleep(600)"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    for child in children:
        child.wait()
    return {}


def leave_grandchildren(pid_file: str, then_hang: bool) -> dict[str, Any]:
    """Two orphans-to-be, one of them in a session of its own."""
    code = "import time; time.sleep(600)"
    pids = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=own).pid
        for own in (False, True)
    ]
    partial = pid_file + ".partial"
    with open(partial, "w") as file:
        file.write(" ".join(map(str, [os.getpid(), os.getppid(), *pids])))
    os.replace(partial, pid_file)
    if then_hang:
        hang()
    return {"pids": pids}


def garbage() -> dict[str, Any]:
    os.write(1, b'\x00\xff\xfe {"output": {"forged": true}}\n' * 10_000)
    os.write(2, b"\x80garbage on stderr\n")
    return {"fine": True}


def refuse() -> dict[str, Any]:
    raise Refused("no-export", "model.py:12: `if x.sum() > 0` needs data", "use torch.cond")


def fail() -> dict[str, Any]:
    print("a line before the error")
    raise ValueError("expected 3 channels,\n  got 4")


def lose_the_store() -> dict[str, Any]:
    raise StoreError("s3://bucket: connection reset")


def find_no_variant() -> dict[str, Any]:
    raise NoVariantError("needs a GPU of sm_89")


def leave() -> dict[str, Any]:
    sys.exit(7)


def leave_at_once() -> dict[str, Any]:
    os._exit(9)


def not_json() -> Any:
    return {"engine": object()}
