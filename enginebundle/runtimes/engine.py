"""Run a serialized engine. `tensorrt` and `tensorrt_rtx` share this code: their runtime APIs agree.

Deserializing an engine can run code in it, so its bytes must be verified first. The buffer that was
hashed is the buffer that is deserialized.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes.cuda_graphs import CudaGraphs
from enginebundle.runtimes.dtypes import DTYPES
from enginebundle.runtimes.engine_context import Context, Opened
from enginebundle.runtimes.engine_log import Log, make_logger
from enginebundle.runtimes.refit import refit
from enginebundle.runtimes.streams import Streams

if TYPE_CHECKING:
    import torch

_DEFAULT_STREAM = 0
"""CUDA's own handle of it."""


class Engine:
    """An open engine on CUDA's current device. Calls from several threads enqueue one at a time."""

    def __init__(
        self, trt: Any, data: bytes | memoryview, segment: Segment,
        weights: Mapping[str, torch.Tensor], host_code: bool = False, cuda_graphs: bool = False,
    ) -> None:  # fmt: skip
        """`weights` are those that the engine was built without. `cuda_graphs`: replay calls whose sizes
        come again (cuda_graphs.py).

        Raises RuntimeFailure with TensorRT's own reason, or FormatError if the segment or the weights
        do not fit.
        """
        import torch

        if not torch.cuda.is_available():
            raise RuntimeFailure(
                f"an engine needs a CUDA GPU and a torch built for CUDA; torch {torch.__version__} "
                "sees no GPU. Install such a torch, or load target='torch:cpu'"
            )
        self._trt = trt
        self._segment = segment
        device = torch.device("cuda", torch.cuda.current_device())
        log = Log()
        self._logger = make_logger(trt, log)
        self._runtime = trt.Runtime(self._logger)
        if host_code:
            # A version-compatible engine contains the library that runs it. Whoever signed the bundle
            # is trusted with that, as with the engine's kernels.
            self._runtime.engine_host_code_allowed = True
        lines = log.collect()
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            name = torch.cuda.get_device_name(device)
            raise RuntimeFailure(
                f"{trt.__name__} {trt.__version__} refused the engine on {name}: "
                f"{'; '.join(lines) or 'it gave no reason'}. Build the target for this GPU and version"
            )
        inputs, outputs = self._check_tensors()
        names = [spec.name for spec in (*inputs, *outputs)]
        host = frozenset(name for name in names if self._on_host(name))
        self._opened = Opened(trt, self._engine, log, device, inputs, outputs, host)
        lines = log.collect()
        if why := refit(trt, self._engine, self._logger, weights):
            raise self._opened.failure(why, lines)
        self._lock = threading.Lock()
        self._contexts: dict[str, _Served] = {}
        self._streams = Streams(device)
        self._own: Any = None
        # A plugin may do what a graph can't hold; an engine with sizes on the host, wait for it.
        fixed = bool(host or segment.plugins)
        self._graphs = (
            CudaGraphs(self._opened, self._streams) if cuda_graphs and not fixed else None
        )

    @property
    def scratch_bytes(self) -> int:
        """Memory on the device for what calls compute between: each profile's context has its own, and all
        CUDA graphs share one."""
        graphs = self._graphs is not None and self._graphs.lent
        return self._opened.scratch_bytes * (len(self._contexts) + bool(graphs))

    def __call__(self, values: Mapping[str, torch.Tensor], profile: str) -> dict[str, torch.Tensor]:
        """Enqueue on torch's current stream. Outputs are on the GPU, shape tensors on the host.

        A caller that captures a CUDA graph calls once at the same sizes before.

        Raises RuntimeFailure if TensorRT refuses the shapes or the call.
        """
        import torch

        with self._lock:
            if torch.cuda.current_device() == self._opened.device.index:
                return self._run(values, profile)
            with torch.cuda.device(self._opened.device):
                return self._run(values, profile)

    def _run(self, values: Mapping[str, torch.Tensor], profile: str) -> dict[str, torch.Tensor]:
        import torch

        caller = self._streams.current()
        capturing = torch.cuda.is_current_stream_capturing()
        if self._graphs is not None and not capturing:
            number = self._segment.profiles.index(profile)
            outputs = self._graphs.run(values, number, profile, caller)
            if outputs is not None:
                return outputs
        served = self._contexts.get(profile)
        if served is None:
            if capturing:
                raise RuntimeFailure(
                    "expected a call at these sizes before a CUDA graph is captured, got none"
                )
            number = self._segment.profiles.index(profile)
            served = self._contexts[profile] = _Served(Context(self._opened, number, profile))
        return self._enqueue(served, values, caller, capturing)

    def _enqueue(
        self, served: _Served, values: Mapping[str, torch.Tensor], caller: Any, capturing: bool
    ) -> dict[str, torch.Tensor]:
        stream = self._apart(caller)
        # A context owns scratch memory, so its previous call, maybe on another stream, must end first.
        # In a graph that is captured, nothing can wait for what is outside: that is the caller's part.
        if not capturing:
            served.done.wait(stream)
        lines = self._opened.log.collect()
        inputs, outputs = served.context.bind(values, lines)
        if stream is not caller:
            stream.wait_stream(caller)
        served.context.enqueue(stream, lines)
        if not capturing:
            served.done.record(stream)
        if stream is not caller:
            caller.wait_stream(stream)
        # Host inputs must outlive the enqueued work; the stream orders the use of device memory.
        served.held = inputs
        if self._opened.on_host and any(tensor.is_cpu for tensor in outputs.values()):
            stream.synchronize()
        return outputs

    def _apart(self, caller: Any) -> Any:
        """The stream to enqueue on: the caller's, or one of our own in place of CUDA's default stream.

        There TensorRT waits on the host, and on an H200 (10.6) what a plugin in Python had enqueued ran
        at the same time as the layers behind it.
        """
        if caller.cuda_stream != _DEFAULT_STREAM:
            return caller
        if self._own is None:
            self._own = self._streams.new()
        return self._own

    def _on_host(self, name: str) -> bool:
        host: bool = self._engine.get_tensor_location(name) == self._trt.TensorLocation.HOST
        return host

    def _check_tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """The inputs that the engine reads, and its outputs. FormatError if the segment has others."""
        engine, segment = self._engine, self._segment
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inward = self._trt.TensorIOMode.INPUT
        reads = {name for name in names if engine.get_tensor_mode(name) == inward}
        # An engine does not list an input that its network does not read.
        inputs = tuple(spec for spec in segment.inputs if spec.name in reads)
        if reads != {s.name for s in inputs} or set(names) - reads != {
            s.name for s in segment.outputs
        }:
            raise FormatError(
                f"engine has the tensors {sorted(names)}, expected inputs "
                f"{[s.name for s in segment.inputs]} and outputs {[s.name for s in segment.outputs]}"
            )
        for spec in (*inputs, *segment.outputs):
            found = engine.get_tensor_dtype(spec.name).name
            if DTYPES.get(found) != spec.dtype:
                raise FormatError(
                    f"engine tensor {spec.name!r}: expected {spec.dtype}, got {found}"
                )
        if engine.num_optimization_profiles != max(1, len(segment.profiles)):
            raise FormatError(
                f"engine has {engine.num_optimization_profiles} optimization profiles, expected "
                f"{list(segment.profiles)}"
            )
        return inputs, segment.outputs


class _Served:
    """A context that serves calls, the end of its last one, and the inputs that this reads."""

    def __init__(self, context: Context) -> None:
        import torch

        event: Any = torch.cuda.Event
        self.context = context
        self.done = event()
        self.held: list[torch.Tensor] = []
