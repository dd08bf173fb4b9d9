"""The process behind apart.py: reads a request a line, builds, answers a line.

It ends when nobody has asked for anything for a while, because TensorRT's kernels hold much memory.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import torch

from compiler.build.aids import Aids
from compiler.build.apart import GIVEN, MADE
from compiler.build.builder import BuildRefused, make_engine
from compiler.build.replay import ReplayRefused
from enginebundle.storage.store import Store

IDLE = 120.0
"""Seconds without a request after which the process ends."""


def main() -> None:
    """Serve until standard input ends."""
    # Libraries print to standard output, which carries our answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        requests = sys.stdin.buffer
        while select.select([requests], [], [], IDLE)[0] and (line := requests.readline()):
            answers.writelines([json.dumps(_build(json.loads(line))).encode(), b"\n"])
            answers.flush()


def _build(request: dict[str, Any]) -> dict[str, Any]:
    if request["device"] is not None:
        torch.cuda.set_device(request["device"])
    folder = Path(request["folder"])
    # Our parent wrote it, into a folder that only this user can enter.
    network, graph, options, bindings, replay = torch.load(
        folder / GIVEN, mmap=True, weights_only=False, map_location="cpu"
    )
    store = None if request["store"] is None else Store.open(request["store"])
    trt = importlib.import_module(request["module"])
    try:
        made = make_engine(trt, network, graph, options, Aids(store, replay=replay), bindings)
    except (BuildRefused, ReplayRefused) as error:
        node = error.node if isinstance(error, BuildRefused) else None
        return {
            "code": error.code, "message": error.message, "remedy": error.remedy, "node": node,
        }  # fmt: skip
    (folder / MADE).write_bytes(made.engine)
    return {"notes": dict(made.notes)}


if __name__ == "__main__":
    main()
