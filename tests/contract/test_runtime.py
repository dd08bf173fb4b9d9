"""The loader's engine runtime against what TensorRT 10.6, 10.15 and 11.4 offer, by signature only.

`tests/gpu/` runs the same code on real engines. Here each call must bind to a signature of each
version, and every answer by which TensorRT says that it did nothing must become an error: outputs of
an engine that was not run are memory that nothing wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from enginebundle.errors import RuntimeFailure
from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes.engine import Engine
from tests.contract.record import WHEELS, recorded
from tests.contract.strict import module

SPEC = TensorSpec("x", "float32", ("b", 3))
SEGMENT = Segment(
    "engine", digest_bytes(b""), None, (SPEC,), (TensorSpec("y", "float32", ("b", 3)),), ("p",)
)
NAMES = ("x", "y")


CALLERS, OWN = 11, 22
"""Handles of streams: a caller's, and one that the runtime makes."""
waits: list[tuple[int, int]] = []


class Stream:
    """One that notes whom it waits for."""

    def __init__(self, device: Any = None, handle: int = OWN) -> None:
        self.cuda_stream = handle

    def synchronize(self) -> None:
        return

    def wait_stream(self, other: Stream) -> None:
        waits.append((self.cuda_stream, other.cuda_stream))


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few parts of torch.cuda that the runtime asks; its tensors stay on the CPU."""
    event = lambda: SimpleNamespace(wait=lambda s: None, record=lambda s: None)  # noqa: E731
    for name, value in {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "current_stream": lambda device=None: Stream(handle=CALLERS),
        "Stream": Stream,
        "get_device_name": lambda device: "a GPU",
        "device": lambda device: nullcontext(),
        "Event": event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def opened(version: str, host_code: bool = False, **behaviour: Any) -> Engine:
    """An engine of two tensors in that version's runtime, whose execution writes 7 into `y`."""
    addresses: dict[str, int] = {}

    def set_address(context: Any, name: str, address: int) -> bool:
        addresses[name] = address
        return True

    def execute(context: Any, stream: int) -> bool:
        torch_at(addresses["y"]).fill_(7)
        return True

    trt: Any = None

    def mode(engine: Any, name: str) -> Any:
        return trt.TensorIOMode.INPUT if name == "x" else trt.TensorIOMode.OUTPUT

    usual: dict[str, Any] = {
        "ICudaEngine.num_io_tensors": 2,
        "ICudaEngine.num_optimization_profiles": 1,
        "ICudaEngine.get_tensor_name": lambda engine, index: NAMES[index],
        "ICudaEngine.get_tensor_mode": mode,
        "ICudaEngine.get_tensor_dtype": lambda engine, name: trt.DataType.FLOAT,
        "ICudaEngine.get_tensor_location": lambda engine, name: trt.TensorLocation.DEVICE,
        "IExecutionContext.infer_shapes": lambda context: [],
        "IExecutionContext.get_tensor_shape": lambda context, name: (2, 3),
        "IExecutionContext.set_tensor_address": set_address,
        "IExecutionContext.execute_async_v3": execute,
    }
    given = {name.replace("__", "."): value for name, value in behaviour.items()}
    trt = module("tensorrt", recorded(version), usual | given)
    engine = Engine(trt, b"engine", SEGMENT, {}, host_code)
    engine._device = torch.device("cpu")
    return engine


def torch_at(address: int) -> torch.Tensor:
    """Two rows of three float32 numbers at an address."""
    import ctypes

    buffer = (ctypes.c_float * 6).from_address(address)
    return torch.frombuffer(buffer, dtype=torch.float32)


@pytest.mark.parametrize("version", WHEELS)
def test_every_call_binds_and_the_outputs_are_what_was_written(version: str) -> None:
    got = opened(version)({"x": torch.zeros(2, 3)}, "p")
    assert torch.equal(got["y"], torch.full((2, 3), 7.0))


@pytest.mark.parametrize("version", WHEELS)
@pytest.mark.parametrize("handle", [CALLERS, 0])
def test_the_engine_has_a_stream_of_its_own_beside_the_default_one(
    version: str, handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for what the caller has enqueued, and what the caller enqueues next waits for it."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: Stream(handle=handle))
    ran: list[tuple[int, list[tuple[int, int]]]] = []

    def execute(context: Any, stream: int) -> bool:
        ran.append((stream, list(waits)))
        return True

    engine = opened(version, IExecutionContext__execute_async_v3=execute)
    for _ in range(2):
        waits.clear()
        engine({"x": torch.zeros(2, 3)}, "p")
        on, before = ran.pop()
        assert (on, before) == ((OWN, [(OWN, 0)]) if handle == 0 else (CALLERS, []))
        assert waits == ([(OWN, 0), (0, OWN)] if handle == 0 else [])


def no(*arguments: Any) -> bool:
    return False


@pytest.mark.parametrize("version", WHEELS)
@pytest.mark.parametrize(
    ("refuses", "answer", "message"),
    [
        ("IExecutionContext__execute_async_v3", no, "execution failed"),
        ("IExecutionContext__set_tensor_address", no, "address of 'x'"),
        ("IExecutionContext__set_input_shape", no, r"input 'x' of shape \[2, 3\]"),
        ("IExecutionContext__set_optimization_profile_async", no, "optimization profile 0"),
        ("IExecutionContext__infer_shapes", lambda context: ["x"], "shapes stay unknown"),
        ("ICudaEngine__create_execution_context", lambda *a: None, "no execution context"),
    ],
)
def test_what_tensorrt_refuses_is_an_error_and_never_an_output(
    version: str, refuses: str, answer: Callable[..., Any], message: str
) -> None:
    engine = opened(version, **{refuses: answer})
    with pytest.raises(RuntimeFailure, match=message):
        engine({"x": torch.zeros(2, 3)}, "p")


@pytest.mark.parametrize("version", WHEELS)
@pytest.mark.parametrize("allowed", [False, True])
def test_only_a_version_compatible_engine_may_bring_code_for_the_cpu(
    version: str, allowed: bool
) -> None:
    engine = opened(version, allowed, Runtime__engine_host_code_allowed=False)
    assert engine._runtime.engine_host_code_allowed == allowed
