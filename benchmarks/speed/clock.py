"""How long a call takes, and how far its numbers are from eager float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from enginebundle.runtimes.dtypes import DTYPES

Call = Callable[[], Any]
CALLS, RUNS = 60, 3
WARM = 0.3
"""Seconds of calls before the first that counts: the GPU's clock takes a while to rise."""


def milliseconds(call: Call) -> float:
    """Of a call, on the current stream: the median of RUNS runs of CALLS back to back."""
    for _ in range(10):
        call()
    torch.cuda.synchronize()
    end = time.monotonic() + WARM
    while time.monotonic() < end:
        for _ in range(10):
            call()
        torch.cuda.synchronize()
    found = []
    for _ in range(RUNS):
        event: Any = torch.cuda.Event
        first, last = event(enable_timing=True), event(enable_timing=True)
        first.record()
        for _ in range(CALLS):
            call()
        last.record()
        last.synchronize()
        found.append(first.elapsed_time(last) / CALLS)
    return round(sorted(found)[RUNS // 2], 4)


def captured(call: Call) -> Call:
    """The call as a CUDA graph, to replay. Call it on the stream that is current, not the default one."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        call()
    return graph.replay


def plain_and_graph(call: Call) -> dict[str, Any]:
    """`plain_ms` and `graph_ms`; the latter None, with `graph_detail`, where capturing fails."""
    with torch.cuda.stream(torch.cuda.Stream()):
        row: dict[str, Any] = {"plain_ms": milliseconds(call)}
        try:
            row["graph_ms"] = milliseconds(captured(call))
        except RuntimeError as error:
            row |= {"graph_ms": None, "graph_detail": str(error)[:300]}
    return row


def apart(got: Mapping[str, torch.Tensor], want: Mapping[str, torch.Tensor]) -> float:
    """The largest relative L2 distance among the float outputs; infinite where any is NaN."""
    worst = 0.0
    for name, right in want.items():
        if right.is_floating_point():
            a, b = got[name].cpu().double(), right.cpu().double()
            distance = float((a - b).norm() / b.norm())
            worst = max(worst, distance if distance == distance else float("inf"))
    return worst


class Raw:
    """An engine with nothing around it: fixed buffers, one context, the current stream."""

    def __init__(self, trt: Any, data: Any, feeds: Mapping[str, torch.Tensor]) -> None:
        self._trt = trt
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self.engine = self._runtime.deserialize_cuda_engine(data)
        if self.engine is None:
            raise RuntimeError("TensorRT refused the engine")
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise RuntimeError("no execution context")
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        inward = trt.TensorIOMode.INPUT
        self.inputs = [n for n in names if self.engine.get_tensor_mode(n) == inward]
        self.outputs = [n for n in names if n not in self.inputs]
        self.held: dict[str, torch.Tensor] = {}
        for name in self.inputs:
            given = feeds[name].to(self._dtype(name)).cuda().contiguous()
            if not self.context.set_input_shape(name, tuple(given.shape)):
                raise RuntimeError(f"shape of {name} refused: {tuple(given.shape)}")
            self.held[name] = given
        for name in self.outputs:
            shape = tuple(self.context.get_tensor_shape(name))
            self.held[name] = torch.full(shape, 77, dtype=self._dtype(name), device="cuda")
        for name, tensor in self.held.items():
            self.context.set_tensor_address(name, tensor.data_ptr())

    def _dtype(self, name: str) -> torch.dtype:
        found: torch.dtype = getattr(torch, DTYPES[self.engine.get_tensor_dtype(name).name])
        return found

    def __call__(self) -> None:
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("execution failed")

    def results(self) -> dict[str, torch.Tensor]:
        """After one call, by name, on the CPU."""
        self()
        torch.cuda.synchronize()
        return {name: self.held[name].cpu() for name in self.outputs}
