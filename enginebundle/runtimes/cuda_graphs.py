"""Calls of an engine as CUDA graphs: at sizes that come again, one launch instead of one a kernel.

A graph reads and writes buffers of its own, so a call copies its inputs into them and its outputs out of
them, on the GPU. Each has an execution context of its own, as TensorRT asks for; all share the memory for
what they compute between, so they run one after the other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import RuntimeFailure
from enginebundle.runtimes.engine_context import Context, Opened

if TYPE_CHECKING:
    import torch

KEPT = 16
"""Graphs of an engine; beyond that, the one that was used longest ago goes."""
_SEEN = 1024
"""Sizes that are remembered until they come again."""

Key = tuple[Any, ...]


class CudaGraphs:
    """An engine's graphs. One thread at a time."""

    def __init__(self, opened: Opened) -> None:
        import torch

        event: Any = torch.cuda.Event
        self._opened = opened
        self._done = event()
        self._kept: OrderedDict[Key, _Replay] = OrderedDict()
        self._seen: dict[Key, None] = {}
        self._memory: torch.Tensor | None = None
        self.refused = ""
        """Why there are none, if the engine can't be captured: it has a loop, say."""

    def run(
        self, values: Mapping[str, torch.Tensor], profile: int, name: str, caller: Any
    ) -> dict[str, torch.Tensor] | None:
        """The outputs of a call on the stream `caller`. None at sizes that come for the first time, or
        where the engine can't be captured. Raises RuntimeFailure if TensorRT refuses the sizes."""
        if self.refused:
            return None
        key = (profile, *[values[spec.name].shape for spec in self._opened.inputs])
        replay = self._kept.get(key)
        if replay is None:
            replay = self._made(key, values, profile, name, caller)
            if replay is None:
                return None
        self._kept.move_to_end(key)
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
        self._done.synchronize()  # the oldest, or another in the same memory, may be running
        if len(self._kept) >= KEPT:
            self._kept.popitem(last=False)
        try:
            context = Context(self._opened, profile, name, self._lent())
            replay = _Replay(self._opened, context, values, caller)
        except _NotCaptured as error:
            self.refused = str(error)
            return None
        self._kept[key] = replay
        return replay

    def _lent(self) -> torch.Tensor:
        """Memory for any profile."""
        import torch

        if self._memory is None:
            engine = self._opened.engine
            profiles = range(engine.num_optimization_profiles)
            most = max(engine.get_device_memory_size_for_profile_v2(n) for n in profiles)
            self._memory = torch.empty(max(most, 1), dtype=torch.uint8, device=self._opened.device)
        return self._memory


class _NotCaptured(Exception):
    """The engine ran, but can't be captured."""


class _Replay:
    """An engine at fixed sizes, captured."""

    def __init__(
        self, opened: Opened, context: Context, values: Mapping[str, torch.Tensor], caller: Any
    ) -> None:
        """Raises RuntimeFailure if TensorRT refuses the call, _NotCaptured if only a graph of it."""
        import torch

        names = [spec.name for spec in opened.inputs]
        # Made outside of the caller's inference mode, if it is in one: others could not write to them then.
        with torch.inference_mode(False), opened.log.collecting() as lines:
            given = {name: values[name].to(opened.device, copy=True).contiguous() for name in names}
            held, outputs = context.bind(given, lines)
            stream = _side_stream(opened.device)
            stream.wait_stream(caller)
            # TensorRT makes ready for these sizes in their first call, which can't be captured.
            context.enqueue(stream, lines)
            stream.synchronize()
            self._graph = _captured(context, stream, lines)
        self._context = context  # the graph's kernels belong to it
        self._inputs = dict(zip(names, held, strict=True))
        self._outputs = outputs

    def __call__(self, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """On the current stream."""
        for name, buffer in self._inputs.items():
            buffer.copy_(values[name], non_blocking=True)
        self._graph.replay()
        return {name: buffer.clone() for name, buffer in self._outputs.items()}


def _side_stream(device: torch.device) -> Any:
    import torch

    stream: Any = torch.cuda.Stream
    return stream(device)


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
