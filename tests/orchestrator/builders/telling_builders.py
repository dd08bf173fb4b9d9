"""Builders that tell how far they are: with real builds of TensorRT-RTX, and without any."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from compiler.build.progress import Phase
from orchestrator.worker.progress import teller


def build_until_stopped(mark: str) -> dict[str, Any]:
    """Build one small engine after another; once stopped, leave the refusal's code in a file."""
    import tensorrt_rtx
    import torch

    from compiler.build.aids import Aids
    from compiler.build.builder import BuildRefused, EngineOptions, make_engine
    from compiler.convert.net import Net
    from enginebundle.format.graph import Graph
    from enginebundle.format.spec import Profile, TensorSpec

    net = Net()
    net.node = "product"
    x = net.input("x", torch.float32, (2, 16))
    for _ in range(20):
        x = net.activation(net.matmul(x, net.constant(torch.eye(16))), "RELU")
    network = net.finish({"y": x}, {})
    graph = Graph((TensorSpec("x", "float32", (2, 16)),), (), (), (), ())
    options = EngineOptions((Profile("p", ()),), capabilities=("sm_89",))
    try:
        while True:
            make_engine(tensorrt_rtx, network, graph, options, Aids(listener=teller()))
    except BuildRefused as refused:
        Path(mark).write_text(refused.code)
        raise


def tell_until(file: str) -> dict[str, Any]:
    """Tell of two phases until the file is there."""
    tell = teller()
    assert tell is not None
    phases = (Phase("Building engine", 2, 6), Phase("Optimizing graph", 12, 30))
    while not Path(file).exists():
        tell(phases)
        time.sleep(0.02)
    return {"provenance": {"engines": [{"key": "sha256:e"}]}, "done": True}


def tell_once_and_hang() -> dict[str, Any]:
    tell = teller()
    assert tell is not None
    tell(())
    while True:
        time.sleep(60)


def tell_step(step: str, spec: dict[str, Any], upstream: Any, store: str) -> dict[str, Any]:
    """As a farm's step: `spec` names the file."""
    return tell_until(spec["until"])
