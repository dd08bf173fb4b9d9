"""Runs a serialized engine once, with nothing but the TensorRT module: no loader in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def execute(trt: Any, engine: bytes, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs by name, on the CPU. The engine has one optimization profile."""
    logger = trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    loaded = runtime.deserialize_cuda_engine(engine)
    assert loaded is not None, "the engine was refused"
    strategies = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
    if strategies is None:  # TensorRT has no such choice
        context = loaded.create_execution_context()
    else:  # as the loader does it, and for its reason
        config = loaded.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = strategies.NONE
        context = loaded.create_execution_context(config)
    types = {
        trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16, trt.DataType.INT32: torch.int32,
        trt.DataType.INT64: torch.int64, trt.DataType.BOOL: torch.bool,
    }  # fmt: skip
    held: dict[str, torch.Tensor] = {}
    outputs = []
    for index in range(loaded.num_io_tensors):
        name = loaded.get_tensor_name(index)
        if loaded.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            on_host = loaded.get_tensor_location(name) == trt.TensorLocation.HOST
            held[name] = feeds[name].contiguous() if on_host else feeds[name].cuda().contiguous()
            assert context.set_input_shape(name, tuple(held[name].shape)), (
                f"shape of {name} refused"
            )
        else:
            outputs.append(name)
    for name in outputs:
        shape = tuple(context.get_tensor_shape(name))
        assert min(shape, default=1) >= 0, f"{name} has the shape {shape}"
        dtype = types[loaded.get_tensor_dtype(name)]
        never = float("nan") if dtype.is_floating_point else 77  # what the engine has to overwrite
        held[name] = torch.full(shape, never, dtype=dtype, device="cuda")
    empty = torch.empty(16, device="cuda")  # TensorRT wants an address for empty tensors too
    for name, tensor in held.items():
        context.set_tensor_address(name, tensor.data_ptr() or empty.data_ptr())
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    assert context.execute_async_v3(stream.cuda_stream), "execution failed"
    stream.synchronize()
    return {name: held[name].cpu() for name in outputs}
