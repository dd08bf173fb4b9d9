"""The loader's engine runtime against what TensorRT 10.6, 10.15 and 11.4 offer, by signature only.

`tests/gpu/` runs the same code on real engines. Here each call must bind to a signature of each
version, and every answer by which TensorRT says that it did nothing must become an error: outputs of
an engine that was not run are memory that nothing wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from enginebundle.errors import RuntimeFailure
from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.runtimes import cuda_graphs
from enginebundle.runtimes.cuda_graphs import CudaGraphs
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
    event = lambda: SimpleNamespace(  # noqa: E731
        wait=lambda s: None, record=lambda s: None, synchronize=lambda: None
    )
    for name, value in {
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "current_stream": lambda device=None: Stream(handle=CALLERS),
        "Stream": Stream,
        "get_device_name": lambda device: "a GPU",
        "device": lambda device: nullcontext(),
        "stream": lambda stream: nullcontext(),
        "is_current_stream_capturing": lambda: False,
        "CUDAGraph": Graph,
        "Event": event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    raw = lambda index: torch.cuda.current_stream().cuda_stream  # noqa: E731
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", raw, raising=False)
    monkeypatch.setattr(cuda_graphs, "_LEAST", 0.0)


class Graph:
    """Work that was enqueued while it was captured, done again at each replay."""

    captured: Graph | None = None

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []

    def capture_begin(self, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        Graph.captured = self

    def capture_end(self) -> None:
        Graph.captured = None

    def replay(self) -> None:
        for work in self.work:
            work()


def opened(
    version: str, host_code: bool = False, cuda_graphs: bool = False, segment: Segment = SEGMENT,
    on_host: str = "", **behaviour: Any,
) -> Engine:  # fmt: skip
    """An engine of two tensors in that version's runtime, whose execution writes x + 7 into `y`."""

    def set_shape(context: Any, name: str, shape: tuple[int, ...]) -> bool:
        vars(context)["rows"] = shape[0]
        return True

    def set_address(context: Any, name: str, address: int) -> bool:
        vars(context)[f"at_{name}"] = address
        return True

    def execute(context: Any, stream: int) -> bool:
        x, y = (at(context, name) for name in NAMES)

        def work() -> None:
            torch.add(x, 7, out=y)

        work() if Graph.captured is None else Graph.captured.work.append(work)
        return True

    trt: Any = None

    def mode(engine: Any, name: str) -> Any:
        return trt.TensorIOMode.INPUT if name == "x" else trt.TensorIOMode.OUTPUT

    usual: dict[str, Any] = {
        "ICudaEngine.num_io_tensors": 2,
        "ICudaEngine.num_optimization_profiles": 1,
        "ICudaEngine.get_device_memory_size_for_profile_v2": lambda engine, profile: 512,
        "ICudaEngine.get_tensor_name": lambda engine, index: NAMES[index],
        "ICudaEngine.get_tensor_mode": mode,
        "ICudaEngine.get_tensor_dtype": lambda engine, name: trt.DataType.FLOAT,
        "ICudaEngine.get_tensor_location": lambda engine, name: (
            trt.TensorLocation.HOST if name == on_host else trt.TensorLocation.DEVICE
        ),
        "IExecutionContext.infer_shapes": lambda context: [],
        "IExecutionContext.set_input_shape": set_shape,
        "IExecutionContext.get_tensor_shape": lambda context, name: (vars(context)["rows"], 3),
        "IExecutionContext.set_tensor_address": set_address,
        "IExecutionContext.execute_async_v3": execute,
    }
    given = {name.replace("__", "."): value for name, value in behaviour.items()}
    trt = module("tensorrt", recorded(version), usual | given)
    engine = Engine(trt, b"engine", segment, {}, host_code, cuda_graphs)
    object.__setattr__(engine._opened, "device", torch.device("cpu"))
    return engine


def at(context: Any, name: str) -> torch.Tensor:
    """The tensor of rows of three float32 numbers at an address that was set."""
    import ctypes

    count = 3 * vars(context)["rows"]
    buffer = (ctypes.c_float * count).from_address(vars(context)[f"at_{name}"])
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


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_inputs_are_read_as_torch_reads_them(cuda_graphs: bool) -> None:
    """Views whose memory has another order, offset or sign."""
    engine = opened(next(iter(WHEELS)), cuda_graphs=cuda_graphs)
    memory = torch.arange(24.0).view(4, 6)
    turned = torch.view_as_complex(memory.view(4, 3, 2)).conj().imag
    assert turned.is_neg()
    for x in (memory[:, ::2], memory.T[:3].T, memory[1:3, 1:4], turned, turned[1:]):
        for _ in range(3):
            assert torch.equal(engine({"x": x}, "p")["y"], x + 7)


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


def graphs(engine: Engine) -> CudaGraphs:
    assert engine._graphs is not None
    return engine._graphs


@pytest.mark.parametrize("version", WHEELS)
def test_sizes_that_come_again_are_replayed(version: str) -> None:
    """Outputs are the caller's own, and inputs are read at each call."""
    lent: list[tuple[int, int]] = []
    engine = opened(
        version, cuda_graphs=True,
        IExecutionContext__set_device_memory=lambda context, *memory: lent.append(memory),
    )  # fmt: skip
    found = [engine({"x": torch.full((2, 3), float(n))}, "p")["y"] for n in range(4)]
    for n, got in enumerate(found):
        assert torch.equal(got, torch.full((2, 3), 7.0 + n))
    assert [size for _, size in lent] == [512]
    assert len(graphs(engine)._kept) == 1
    with torch.inference_mode():
        engine({"x": torch.zeros(2, 3)}, "p")
    assert torch.equal(engine({"x": torch.ones(2, 3)}, "p")["y"], torch.full((2, 3), 8.0))


@pytest.mark.parametrize("version", WHEELS)
def test_scratch_memory_is_counted_for_each_context_and_once_for_all_graphs(version: str) -> None:
    plain, graphed = opened(version), opened(version, cuda_graphs=True)
    assert (plain.scratch_bytes, graphed.scratch_bytes) == (0, 0)
    for rows in (1, 1, 2, 2, 2):
        for engine in (plain, graphed):
            engine({"x": torch.zeros(rows, 3)}, "p")
    assert (plain.scratch_bytes, graphed.scratch_bytes) == (512, 1024)


@pytest.mark.parametrize("version", WHEELS)
def test_graphs_are_few(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is used stays; one that no call of many used makes room."""
    monkeypatch.setattr(cuda_graphs, "KEPT", 2)
    monkeypatch.setattr(cuda_graphs, "STALE", 10)
    engine = opened(version, cuda_graphs=True)

    def call(*sizes: int) -> list[int]:
        for rows in sizes:
            for n in range(3):
                x = torch.full((rows, 3), float(n))
                assert torch.equal(engine({"x": x}, "p")["y"], x + 7)
        return [key[1][0] for key in graphs(engine)._kept]

    assert call(1, 2, 1, 3) == [2, 1]
    assert call(3, 1) == [2, 1]
    assert call(3) == [1, 3]


@pytest.mark.parametrize("version", WHEELS)
def test_an_engine_that_is_enqueued_quickly_has_none(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "_LEAST", 1000.0)
    engine = opened(version, cuda_graphs=True)
    for n in range(4):
        x = torch.full((2, 3), float(n))
        assert torch.equal(engine({"x": x}, "p")["y"], x + 7)
    assert "without" in graphs(engine).refused
    assert not graphs(engine)._kept


@pytest.mark.parametrize("version", WHEELS)
def test_an_engine_that_can_not_be_captured_is_enqueued(version: str) -> None:
    """As one with a loop: TensorRT refuses while a stream is captured."""

    def execute(context: Any, stream: int) -> bool:
        if Graph.captured is None:
            at(context, "y").fill_(7)
        return Graph.captured is None

    engine = opened(version, cuda_graphs=True, IExecutionContext__execute_async_v3=execute)
    for _ in range(3):
        assert torch.equal(engine({"x": torch.zeros(2, 3)}, "p")["y"], torch.full((2, 3), 7.0))
    assert "execution failed" in graphs(engine).refused
    assert Graph.captured is None


@pytest.mark.parametrize("version", WHEELS)
def test_plugins_and_sizes_on_the_host_are_not_captured(version: str) -> None:
    plugged = replace(SEGMENT, plugins=("Mine@1",))
    assert opened(version, cuda_graphs=True, segment=plugged)._graphs is None
    assert opened(version, cuda_graphs=True, on_host="x")._graphs is None
    assert opened(version, cuda_graphs=True)._graphs is not None


@pytest.mark.parametrize("version", WHEELS)
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_in_a_capture_of_the_caller_s_nothing_is_waited_for(
    version: str, cuda_graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(version, cuda_graphs=cuda_graphs)
    room = torch.zeros(128)
    start = -room.data_ptr() % 256 // 4  # where TensorRT reads it without a copy
    x = room[start : start + 6].view(2, 3)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeFailure, match="before a CUDA graph is captured"):
        engine({"x": x}, "p")
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    engine({"x": x}, "p")

    def refuse(stream: Any) -> None:
        raise AssertionError("waits for what is outside of the graph")

    for served in engine._contexts.values():
        served.done = SimpleNamespace(wait=refuse, record=refuse)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    graph = Graph()
    graph.capture_begin("thread_local")
    got = engine({"x": x}, "p")["y"]
    graph.capture_end()
    x.fill_(5)
    graph.replay()
    assert torch.equal(got, torch.full((2, 3), 12.0))


@pytest.mark.parametrize("version", WHEELS)
def test_sizes_are_set_where_they_change(version: str) -> None:
    asked: list[tuple[int, ...]] = []

    def set_shape(context: Any, name: str, shape: tuple[int, ...]) -> bool:
        asked.append(tuple(shape))
        vars(context)["rows"] = shape[0]
        return tuple(shape) != (9, 3)

    engine = opened(version, IExecutionContext__set_input_shape=set_shape)
    for rows in (2, 2, 4, 4, 2):
        assert engine({"x": torch.zeros(rows, 3)}, "p")["y"].shape == (rows, 3)
    with pytest.raises(RuntimeFailure):
        engine({"x": torch.zeros(9, 3)}, "p")
    assert engine({"x": torch.zeros(2, 3)}, "p")["y"].shape == (2, 3)
    assert [shape[0] for shape in asked] == [2, 4, 2, 9, 2]
