"""Calls of an engine as CUDA graphs: at sizes that come again, one launch instead of one a kernel.

A graph reads and writes buffers of its own, so a call copies its inputs into them and its outputs out of
them, on the GPU. Each has an execution context of its own, as TensorRT asks for; all share the memory for
what they compute between, so they run one after the other.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import RuntimeFailure
from enginebundle.runtimes.engine_context import Context, Opened
from enginebundle.runtimes.streams import Streams

if TYPE_CHECKING:
    import torch

KEPT = 16
"""Graphs of an engine."""
STALE = 1000
"""Calls of the engine after which a graph that none of them used makes room for another. Sooner, sizes that
are more than the graphs would be captured again and again."""
_SEEN = 1024
"""Sizes that are remembered until they come again."""
_LEAST = 20e-6
"""Seconds on the host. An engine that is enqueued in less has few kernels: a graph would save less than copying
its inputs and outputs costs."""

Key = tuple[Any, ...]


class CudaGraphs:
    """An engine's graphs. One thread at a time."""

    def __init__(self, opened: Opened, streams: Streams) -> None:
        import torch

        event: Any = torch.cuda.Event
        self._opened = opened
        self._streams = streams
        self._done = event()
        self._kept: OrderedDict[Key, _Replay] = OrderedDict()
        self._seen: dict[Key, None] = {}
        self._calls = 0
        self._memory: torch.Tensor | None = None
        self.refused = ""
        """Why there are none, if the engine can't be captured (it has a loop, say) or gains nothing."""

    def run(
        self, values: Mapping[str, torch.Tensor], profile: int, name: str, caller: Any
    ) -> dict[str, torch.Tensor] | None:
        """The outputs of a call on the stream `caller`. None at sizes that have no graph: they come for the
        first time, other sizes have all graphs, or the engine can't be captured. Raises RuntimeFailure if
        TensorRT refuses the sizes."""
        if self.refused:
            return None
        self._calls += 1
        key = (profile, *[values[spec.name].shape for spec in self._opened.inputs])
        replay = self._kept.get(key)
        if replay is None:
            replay = self._made(key, values, profile, name, caller)
            if replay is None:
                return None
        self._kept.move_to_end(key)
        replay.used = self._calls
        self._done.wait(caller)
        outputs = replay(values)
        self._done.record(caller)
        return outputs

    @property
    def lent(self) -> bool:
        """Whether the graphs have memory now."""
        return self._memory is not None

    def _made(
        self, key: Key, values: Mapping[str, torch.Tensor], profile: int, name: str, caller: Any
    ) -> _Replay | None:
        """A graph for sizes that came before; None for others."""
        if key not in self._seen or any(0 in shape for shape in key[1:]):
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen[key] = None
            return None
        full = len(self._kept) >= KEPT
        if full and self._calls - next(iter(self._kept.values())).used <= STALE:
            return None
        self._done.synchronize()  # the oldest, or another in the same memory, may be running
        if full:
            self._kept.popitem(last=False)
        try:
            context = Context(self._opened, profile, name, self._lent())
            replay = _Replay(self._opened, context, values, self._streams.new(), caller)
        except _NotCaptured as error:
            self.refused = str(error)
            return None
        self._kept[key] = replay
        return replay

    def _lent(self) -> torch.Tensor:
        """Memory for any profile."""
        import torch

        if self._memory is None:
            most = self._opened.scratch_bytes
            self._memory = torch.empty(max(most, 1), dtype=torch.uint8, device=self._opened.device)
        return self._memory


class _NotCaptured(Exception):
    """The engine ran, but can't be captured, or need not be."""


class _Replay:
    """An engine at fixed sizes, captured."""

    def __init__(
        self, opened: Opened, context: Context, values: Mapping[str, torch.Tensor], stream: Any,
        caller: Any,
    ) -> None:  # fmt: skip
        """On `stream`, once what is on `caller` has ended. Raises RuntimeFailure if TensorRT refuses the call,
        _NotCaptured if only a graph of it."""
        import torch

        names = [spec.name for spec in opened.inputs]
        # Made outside of the caller's inference mode, if it is in one: others could not write to them then.
        with torch.inference_mode(False):
            given = {name: values[name].to(opened.device, copy=True).contiguous() for name in names}
            lines = opened.log.collect()
            held, outputs = context.bind(given, lines)
            stream.wait_stream(caller)
            # TensorRT makes ready for these sizes in their first call, which can't be captured.
            took = [_seconds(context, stream, lines) for _ in range(4)]
            if min(took) < _LEAST:
                raise _NotCaptured(f"it is enqueued in {min(took) * 1e6:.0f} us without")
            self._graph = _captured(context, stream, lines)
        self.used = 0
        """The number of the engine's call that used it last."""
        self._context = context  # the graph's kernels belong to it
        self._names = names
        self._given, self._made = held, outputs

    def __call__(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """On the current stream."""
        import torch

        _copy(self._given, [values[name] for name in self._names])
        self._graph.replay()
        made = self._made
        if len(made) == 1:
            return {name: buffer.clone() for name, buffer in made.items()}
        outputs = {name: torch.empty_like(buffer) for name, buffer in made.items()}
        _copy(list(outputs.values()), list(made.values()))
        return outputs


def _copy(to: list[torch.Tensor], tensors: list[torch.Tensor]) -> None:
    """One kernel for all, where they are on one GPU."""
    import torch

    if len(to) > 1:
        torch._foreach_copy_(to, tensors, non_blocking=True)
    elif to:
        to[0].copy_(tensors[0], non_blocking=True)


def _seconds(context: Context, stream: Any, lines: list[str]) -> float:
    """What enqueuing takes on the host, with nothing before it on the stream."""
    stream.synchronize()
    start = time.perf_counter()
    context.enqueue(stream, lines)
    took = time.perf_counter() - start
    stream.synchronize()
    return took


def _captured(context: Context, stream: Any, lines: list[str]) -> Any:
    """A graph of what was bound. Other threads may use CUDA meanwhile."""
    import torch

    graph: Any = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                context.enqueue(stream, lines)
            finally:
                graph.capture_end()
    except (RuntimeError, RuntimeFailure) as error:
        raise _NotCaptured(str(error)) from error
    return graph
