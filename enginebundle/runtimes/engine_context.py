"""An engine's execution context with one optimization profile: sizes and addresses set, a call enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import RuntimeFailure
from enginebundle.format.spec import TensorSpec
from enginebundle.runtimes.engine_log import Log

if TYPE_CHECKING:
    import torch

_ALIGNMENT = 256
"""In bytes: the alignment that TensorRT requires of every device address."""


@dataclass(frozen=True)
class Opened:
    """A deserialized engine: what its contexts share. `inputs` are those that it reads; `on_host` names
    the tensors, sizes of others, that it reads and writes on the host."""

    trt: Any
    engine: Any
    log: Log
    device: torch.device
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    on_host: frozenset[str]

    @property
    def scratch_bytes(self) -> int:
        """Memory on the device that a context computes in, whatever its profile."""
        profiles = range(self.engine.num_optimization_profiles)
        return int(max(map(self.engine.get_device_memory_size_for_profile_v2, profiles)))

    def failure(self, what: str, lines: Sequence[str]) -> RuntimeFailure:
        """`lines`: what TensorRT said."""
        said = "; ".join(lines) or "it gave no reason"
        return RuntimeFailure(f"{self.trt.__name__} {self.trt.__version__}: {what}: {said}")

    def runtime_config(self, lent: bool = False) -> Any:
        """Settings that make contexts run only the engine's own kernels; None for TensorRT.

        By default TensorRT-RTX compiles kernels for the live shapes in the background and swaps them
        in. On an H200 such kernels gave wrong results where the engine's own kernels, which are the
        validated ones, did not. So the swap is off. TensorRT has no such setting. `lent`: the caller
        gives the context its memory.
        """
        strategies = getattr(self.trt, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return None
        config = self.engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.NONE
        if lent:
            config.set_execution_context_allocation_strategy(self._lent())
        return config

    def _lent(self) -> Any:
        return self.trt.ExecutionContextAllocationStrategy.USER_MANAGED

    def context(self, memory: torch.Tensor | None) -> tuple[Any, Any]:
        """TensorRT's context, None if there is none, and what must live as long as that."""
        # Contexts read it when they change profiles but do not keep it alive: a freed one crashes.
        config = self.runtime_config(memory is not None)
        create = self.engine.create_execution_context
        if config is not None:
            return create(config), config
        return (create() if memory is None else create(self._lent())), None


class Context:
    """For one thread at a time, and one call at a time: it owns scratch memory, or is lent some."""

    def __init__(
        self, opened: Opened, profile: int, name: str, memory: torch.Tensor | None = None
    ) -> None:
        """`memory`: bytes on the device, enough for the profile, to be used instead of its own.

        Raises RuntimeFailure if TensorRT gives none, or not with the profile of that number.
        """
        import torch

        self._opened = opened
        self._memory = memory
        self._sizes: list[Any] | None = None
        self._addresses: dict[str, int] = {}
        self._like: dict[str, torch.Tensor] = {}
        lines = opened.log.collect()
        self._trt, self._config = opened.context(memory)
        if self._trt is None:
            raise opened.failure("no execution context (too little GPU memory?)", lines)
        if memory is not None:
            self._trt.set_device_memory(memory.data_ptr(), memory.numel())
        stream = torch.cuda.current_stream(opened.device)
        if not self._trt.set_optimization_profile_async(profile, stream.cuda_stream):
            raise opened.failure(f"optimization profile {profile} ({name})", lines)
        stream.synchronize()

    def bind(
        self, values: Mapping[str, torch.Tensor], lines: Sequence[str]
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Point it at a call's inputs and at new outputs, which are on the GPU, or on the host for sizes.

        Returns the inputs as it reads them, to be kept until the call has ended, and the outputs. Raises
        RuntimeFailure if TensorRT refuses sizes or addresses.
        """
        import torch

        opened = self._opened
        held, sizes = [], []
        for spec in opened.inputs:
            tensor = self._placed(values[spec.name], spec.name)
            held.append(tensor)
            # What an input on the host holds are sizes of others.
            sizes.append(tensor.tolist() if spec.name in opened.on_host else tensor.shape)
        known, self._sizes = self._sizes == sizes, None
        for place, spec in enumerate(opened.inputs):
            if not known and not self._trt.set_input_shape(spec.name, tuple(held[place].shape)):
                shape = list(held[place].shape)
                raise opened.failure(f"input {spec.name!r} of shape {shape}", lines)
            held[place] = self._set_address(spec.name, held[place], lines)
        if not known:
            self._like = self._infer(lines)
        self._sizes = sizes
        outputs = {}
        for name, like in self._like.items():
            made = torch.empty_like(like, memory_format=torch.contiguous_format)
            self._set_address(name, made, lines)
            outputs[name] = made
        return held, outputs

    def enqueue(self, stream: torch.cuda.Stream, lines: Sequence[str]) -> None:
        """Enqueue what was bound. RuntimeFailure if TensorRT can't."""
        if not self._trt.execute_async_v3(stream.cuda_stream):
            raise self._opened.failure("execution failed", lines)

    def _placed(self, value: torch.Tensor, name: str) -> torch.Tensor:
        opened = self._opened
        if value.is_neg():  # the imaginary part of a conjugate, say: its memory has the other sign
            value = value.resolve_neg()
        if name in opened.on_host:
            return value.cpu().contiguous()
        if value.device != opened.device or not value.is_contiguous():
            value = value.to(opened.device).contiguous()
        return value.clone() if value.data_ptr() % _ALIGNMENT else value

    def _infer(self, lines: Sequence[str]) -> dict[str, torch.Tensor]:
        """Tensors of the outputs' sizes, of one element each, by name: to make new ones like them is half
        the time of making them from sizes, dtype and device."""
        import torch

        opened = self._opened
        try:
            unknown = self._trt.infer_shapes()
        except RuntimeError as error:
            raise opened.failure(f"shapes can't be inferred: {error}", lines) from error
        shapes = {s.name: tuple(self._trt.get_tensor_shape(s.name)) for s in opened.outputs}
        if unknown or any(size < 0 for shape in shapes.values() for size in shape):
            raise opened.failure(f"shapes stay unknown: inputs {unknown}, outputs {shapes}", lines)
        found = {}
        for spec in opened.outputs:
            device = "cpu" if spec.name in opened.on_host else opened.device
            one = torch.empty((), dtype=getattr(torch, spec.dtype), device=device)
            found[spec.name] = one.expand(shapes[spec.name])
        return found

    def _set_address(self, name: str, tensor: torch.Tensor, lines: Sequence[str]) -> torch.Tensor:
        """Point the context at a tensor. Returns the tensor to keep alive for it."""
        import torch

        address = tensor.data_ptr()
        if self._addresses.get(name) == address:
            return tensor
        if not address:  # an empty tensor has none, and TensorRT refuses null
            tensor = torch.empty(_ALIGNMENT, dtype=torch.uint8, device=tensor.device)
            address = tensor.data_ptr()
        self._addresses.pop(name, None)
        if not self._trt.set_tensor_address(name, address):
            raise self._opened.failure(f"address of {name!r}", lines)
        self._addresses[name] = address
        return tensor
