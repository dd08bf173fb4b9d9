"""Run a serialized engine. `tensorrt` and `tensorrt_rtx` share this code: their runtime APIs agree.

Deserializing an engine can run code in it, so its bytes must be verified first. The buffer that was
hashed is the buffer that is deserialized.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes.dtypes import DTYPES
from enginebundle.runtimes.engine_log import Log, make_logger
from enginebundle.runtimes.refit import refit

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 256
"""In bytes: the alignment that TensorRT requires of every device address."""
_DEFAULT_STREAM = 0
"""CUDA's own handle of it."""


class Engine:
    """An open engine on CUDA's current device. Calls from several threads enqueue one at a time."""

    def __init__(
        self, trt: Any, data: bytes | memoryview, segment: Segment,
        weights: Mapping[str, torch.Tensor], host_code: bool = False,
    ) -> None:  # fmt: skip
        """`weights` are those that the engine was built without.

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
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._log = Log()
        self._logger = make_logger(trt, self._log)
        self._runtime = trt.Runtime(self._logger)
        if host_code:
            # A version-compatible engine contains the library that runs it. Whoever signed the bundle
            # is trusted with that, as with the engine's kernels.
            self._runtime.engine_host_code_allowed = True
        with self._log.collecting() as lines:
            self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            name = torch.cuda.get_device_name(self._device)
            raise RuntimeFailure(
                f"{trt.__name__} {trt.__version__} refused the engine on {name}: "
                f"{'; '.join(lines) or 'it gave no reason'}. Build the target for this GPU and version"
            )
        with self._log.collecting() as lines:
            if why := refit(trt, self._engine, self._logger, weights):
                raise self._failure(why, lines)
        self._inputs, self._outputs = self._check_tensors()
        # Contexts read it when they change profiles but do not keep it alive: a freed one crashes.
        self._config = self._runtime_config()
        self._lock = threading.Lock()
        self._contexts: dict[int, _Context] = {}
        self._own: Any = None

    def __call__(self, values: Mapping[str, torch.Tensor], profile: str) -> dict[str, torch.Tensor]:
        """Enqueue on torch's current stream. Outputs are on the GPU, shape tensors on the host.

        Raises RuntimeFailure if TensorRT refuses the shapes or the call.
        """
        import torch

        with self._lock, torch.cuda.device(self._device):
            context = self._context(profile)
            caller = torch.cuda.current_stream(self._device)
            stream = self._apart(caller)
            # A context owns scratch memory, so its previous call, maybe on another stream, must end first.
            context.done.wait(stream)
            with self._log.collecting() as lines:
                inputs = self._set_inputs(context.trt, values, lines)
                outputs = self._set_outputs(context.trt, lines)
                if stream is not caller:
                    stream.wait_stream(caller)
                if not context.trt.execute_async_v3(stream.cuda_stream):
                    raise self._failure("execution failed", lines)
            context.done.record(stream)
            if stream is not caller:
                caller.wait_stream(stream)
            # Host inputs must outlive the enqueued work; the stream orders the use of device memory.
            context.held = inputs
            if any(not tensor.is_cuda for tensor in outputs.values()):
                stream.synchronize()
        return outputs

    def _apart(self, caller: Any) -> Any:
        """The stream to enqueue on: the caller's, or one of our own in place of CUDA's default stream.

        There TensorRT waits on the host, and on an H200 (10.6) what a plugin in Python had enqueued ran
        at the same time as the layers behind it.
        """
        import torch

        if caller.cuda_stream != _DEFAULT_STREAM:
            return caller
        if self._own is None:
            stream: Any = torch.cuda.Stream
            self._own = stream(self._device)
        return self._own

    def _runtime_config(self) -> Any:
        """Settings that make contexts run only the engine's own kernels; None for TensorRT.

        By default TensorRT-RTX compiles kernels for the live shapes in the background and swaps them
        in. On an H200 such kernels gave wrong results where the engine's own kernels, which are the
        validated ones, did not. So the swap is off. TensorRT has no such setting.
        """
        strategies = getattr(self._trt, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return None
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.NONE
        return config

    def _context(self, profile: str) -> _Context:
        import torch

        number = self._segment.profiles.index(profile)
        if number not in self._contexts:
            with self._log.collecting() as lines:
                create = self._engine.create_execution_context
                made = create() if self._config is None else create(self._config)
                if made is None:
                    raise self._failure("no execution context (too little GPU memory?)", lines)
                stream = torch.cuda.current_stream(self._device)
                if not made.set_optimization_profile_async(number, stream.cuda_stream):
                    raise self._failure(f"optimization profile {number} ({profile})", lines)
                stream.synchronize()
            self._contexts[number] = _Context(made)
        return self._contexts[number]

    def _set_inputs(
        self, context: Any, values: Mapping[str, torch.Tensor], lines: Sequence[str]
    ) -> list[torch.Tensor]:
        held = []
        for spec in self._inputs:
            host = self._on_host(spec.name)
            tensor = values[spec.name].to("cpu" if host else self._device).contiguous()
            if not host and tensor.data_ptr() % _ALIGNMENT:
                tensor = tensor.clone()
            if not context.set_input_shape(spec.name, tuple(tensor.shape)):
                raise self._failure(f"input {spec.name!r} of shape {list(tensor.shape)}", lines)
            held.append(self._set_address(context, spec.name, tensor, lines))
        return held

    def _set_outputs(self, context: Any, lines: Sequence[str]) -> dict[str, torch.Tensor]:
        import torch

        try:
            unknown = context.infer_shapes()
        except RuntimeError as error:
            raise self._failure(f"shapes can't be inferred: {error}", lines) from error
        shapes = {spec.name: tuple(context.get_tensor_shape(spec.name)) for spec in self._outputs}
        if unknown or any(size < 0 for shape in shapes.values() for size in shape):
            raise self._failure(f"shapes stay unknown: inputs {unknown}, outputs {shapes}", lines)
        outputs = {}
        for spec in self._outputs:
            device = torch.device("cpu") if self._on_host(spec.name) else self._device
            tensor = torch.empty(shapes[spec.name], dtype=getattr(torch, spec.dtype), device=device)
            self._set_address(context, spec.name, tensor, lines)
            outputs[spec.name] = tensor
        return outputs

    def _set_address(
        self, context: Any, name: str, tensor: torch.Tensor, lines: Sequence[str]
    ) -> torch.Tensor:
        """Point the context at a tensor. Returns the tensor to keep alive for it."""
        import torch

        if tensor.numel() == 0:  # an empty tensor has no address, and TensorRT refuses null
            tensor = torch.empty(_ALIGNMENT, dtype=torch.uint8, device=tensor.device)
        if not context.set_tensor_address(name, tensor.data_ptr()):
            raise self._failure(f"address of {name!r}", lines)
        return tensor

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

    def _failure(self, what: str, lines: Sequence[str]) -> RuntimeFailure:
        said = "; ".join(lines) or "it gave no reason"
        return RuntimeFailure(f"{self._trt.__name__} {self._trt.__version__}: {what}: {said}")


class _Context:
    """An execution context with its one optimization profile, and the end of its last call."""

    def __init__(self, trt: Any) -> None:
        import torch

        event: Any = torch.cuda.Event
        self.trt = trt
        self.done = event()
        self.held: list[torch.Tensor] = []
