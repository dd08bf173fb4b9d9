"""The runtime that ships, on a device: engines opened, fed, and refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import enginebundle
from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.digest import digest_bytes
from enginebundle.format.index import Golden, Index
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.variant import Part, Segment, Variant
from enginebundle.runtimes import cuda_graphs
from enginebundle.runtimes.tensorrt_rtx import open_engine
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.gpu.engines import ROWS, WEIGHT, affine, reshaped

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

INPUTS = (
    TensorSpec("x", "float32", ("b", 3)),
    TensorSpec("mask", "bool", ("b", 1)),
    TensorSpec("ids", "int64", ("b",)),
)
OUTPUTS = (TensorSpec("y", "float32", ("b", 2)), TensorSpec("doubled", "int64", ("b",)))
TARGET = Target.parse("rtx:sm_80")


@pytest.fixture(scope="module")
def engine() -> bytes:
    return affine(pytest.importorskip("tensorrt_rtx"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    # These engines are so small that they would be enqueued without a graph.
    monkeypatch.setattr(cuda_graphs, "_LEAST", 0.0)


def segment(data: bytes, **changes: object) -> Segment:
    values: dict[str, object] = {
        "kind": "engine", "blob": digest_bytes(data), "weights": None, "inputs": INPUTS,
        "outputs": OUTPUTS, "profiles": tuple(ROWS),
    }  # fmt: skip
    return Segment(**(values | changes))  # type: ignore[arg-type]


def inputs(rows: int) -> dict[str, torch.Tensor]:
    return {
        "x": torch.randn(rows, 3),
        "mask": torch.rand(rows, 1) > 0.5,
        "ids": torch.arange(rows) + (1 << 40),
    }


def check(got: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    want = torch.relu(given["x"].cpu() @ torch.from_numpy(WEIGHT)) * given["mask"].cpu()
    torch.testing.assert_close(got["y"].cpu(), want, atol=1e-5, rtol=1e-5)
    assert torch.equal(got["doubled"].cpu(), given["ids"].cpu() * 2)


@pytest.mark.parametrize(
    ("profile", "rows"), [("short", 1), ("short", 4), ("long", 2), ("long", 16)]
)
def test_both_profiles_at_their_ends(engine: bytes, profile: str, rows: int) -> None:
    run = open_engine(engine, segment(engine))
    for _ in range(2):
        given = inputs(rows)
        got = run(given, profile)
        assert all(tensor.is_cuda for tensor in got.values())
        check(got, given)


def test_profiles_may_alternate(engine: bytes) -> None:
    run = open_engine(engine, segment(engine))
    for profile, rows in [("short", 3), ("long", 9), ("short", 1), ("long", 16)]:
        given = inputs(rows)
        check(run(given, profile), given)


def test_strided_and_misaligned_inputs(engine: bytes) -> None:
    run = open_engine(engine, segment(engine))
    wide = {name: tensor.cuda() for name, tensor in inputs(9).items()}
    slices = {name: tensor[1:] for name, tensor in wide.items()}
    slices["x"] = torch.randn(3, 8, device="cuda").T
    check(run(slices, "long"), slices)


@pytest.mark.parametrize("default", [True, False])
def test_a_call_stands_between_what_the_caller_enqueues(engine: bytes, default: bool) -> None:
    """CUDA's default stream, too: the engine runs beside it, behind what comes before, ahead of what follows."""
    run = open_engine(engine, segment(engine))
    run(inputs(16), "long")
    stream = torch.cuda.default_stream() if default else torch.cuda.Stream()
    given = {name: tensor.cuda() for name, tensor in inputs(16).items()}
    busy = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(20):
            busy = (busy @ busy).clamp(-1, 1)
        given["x"].mul_(2)
        got = run(given, "long")
        doubled = {name: tensor * 2 for name, tensor in got.items()}
        for tensor in got.values():
            tensor.zero_()
    stream.synchronize()
    check(
        {
            name: tensor // 2 if name == "doubled" else tensor / 2
            for name, tensor in doubled.items()
        },
        given,
    )


@pytest.mark.parametrize(("cuda_graphs", "threads", "rounds"), [(False, 4, 8), (True, 8, 50)])
def test_threads_on_streams_of_their_own(
    engine: bytes, cuda_graphs: bool, threads: int, rounds: int
) -> None:
    run = open_engine(engine, segment(engine), cuda_graphs=cuda_graphs)

    def work(rows: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        given = inputs(rows)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            got = run(given, "long")
        stream.synchronize()
        return got, given

    with ThreadPoolExecutor(threads) as pool:
        for got, given in pool.map(work, [2, 16, 5, 9] * rounds):
            check(got, given)


def test_sizes_that_come_again_are_replayed(engine: bytes) -> None:
    """From the CPU and the GPU, strided, on streams, in inference mode; outputs stay what they were."""
    run = open_engine(engine, segment(engine), cuda_graphs=True)
    found = []
    for turn in range(12):
        rows = (2, 9, 16)[turn % 3]
        given = inputs(rows)
        given["x"] = torch.randn(3, rows).T
        if turn % 2:
            given = {name: tensor.cuda() for name, tensor in given.items()}
        stream = (torch.cuda.default_stream(), torch.cuda.Stream())[turn // 3 % 2]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.inference_mode(turn % 4 == 0):
            found.append((run(given, "long"), given))
        stream.synchronize()
    for got, given in found:
        check(got, given)
    assert run._graphs is not None
    assert len(run._graphs._kept) == 3
    assert not run._graphs.refused


def test_a_replay_stands_between_what_the_caller_enqueues(engine: bytes) -> None:
    run = open_engine(engine, segment(engine), cuda_graphs=True)
    for _ in range(3):
        run(inputs(16), "long")
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        given = {name: tensor.cuda() for name, tensor in inputs(16).items()}
        doubled = given | {"x": given["x"] * 2}
        busy = torch.randn(4096, 4096, device="cuda")
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            for _ in range(20):
                busy = (busy @ busy).clamp(-1, 1)
            given["x"].mul_(2)
            got = run(given, "long")
            given["x"].zero_()
            later = {name: tensor + 0 for name, tensor in got.items()}
        stream.synchronize()
        check(later, doubled)


def test_more_sizes_than_graphs_are_kept(engine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "KEPT", 2)
    monkeypatch.setattr(cuda_graphs, "STALE", 0)
    run = open_engine(engine, segment(engine), cuda_graphs=True)
    for rows in [2, 3, 4, 5] * 5:
        given = inputs(rows)
        check(run(given, "long"), given)


@pytest.mark.parametrize("own", [False, True])
def test_a_caller_may_capture_calls(engine: bytes, own: bool) -> None:
    run = open_engine(engine, segment(engine), cuda_graphs=own)
    given = {name: tensor.cuda() for name, tensor in inputs(9).items()}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(given, "long")
        with torch.cuda.graph(graph, stream=stream):
            got = {name: tensor + 0 for name, tensor in run(given, "long").items()}
        for _ in range(3):
            given["x"].copy_(torch.randn(9, 3))
            given["ids"].add_(1)
            graph.replay()
            check(got, given)


def test_a_shape_that_no_profile_holds_is_a_runtime_failure(engine: bytes) -> None:
    run = open_engine(engine, segment(engine))
    with pytest.raises(RuntimeFailure, match=r"tensorrt_rtx .*\[5,3\] for tensor x exceed"):
        run(inputs(5), "short")
    given = inputs(4)
    check(run(given, "short"), given)


def test_an_input_of_sizes_lies_on_the_host() -> None:
    data = reshaped(pytest.importorskip("tensorrt_rtx"))
    run = open_engine(
        data,
        segment(
            data,
            inputs=(TensorSpec("x", "float32", ("n",)), TensorSpec("shape", "int64", (2,))),
            outputs=(TensorSpec("y", "float32", ("a", "b")),),
            profiles=("p",),
        ),
    )
    x = torch.randn(12)
    for shape in ([3, 4], [2, 6], [12, 1]):
        for device in ("cpu", "cuda"):
            got = run({"x": x.to(device), "shape": torch.tensor(shape, device=device)}, "p")
            assert torch.equal(got["y"].cpu(), x.reshape(shape))


def test_bytes_that_are_no_engine_are_refused_in_tensorrt_s_words(engine: bytes) -> None:
    for data in (b"not an engine" * 100, engine[: len(engine) // 2]):
        with pytest.raises(
            RuntimeFailure, match=r"refused the engine on .*Build the target"
        ) as caught:
            open_engine(data, segment(data))
        assert "it gave no reason" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": INPUTS[:2]}, "engine has the tensors"),
        ({"outputs": OUTPUTS[:1]}, "engine has the tensors"),
        (
            {"outputs": (OUTPUTS[0], TensorSpec("doubled", "int32", ("b",)))},
            "expected int32, got INT64",
        ),
        ({"profiles": ("short",)}, "has 2 optimization profiles, expected"),
    ],
)
def test_an_engine_that_is_another_s_is_refused(
    engine: bytes, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        open_engine(engine, segment(engine, **changes))


def published(store: Store, data: bytes) -> None:
    import tensorrt_rtx
    from safetensors.torch import save

    case = inputs(3)
    want = torch.relu(case["x"] @ torch.from_numpy(WEIGHT)) * case["mask"]
    golden = save(
        {f"input.{name}": tensor for name, tensor in case.items()}
        | {"output.y": want, "output.doubled": case["ids"] * 2}
    )
    store.put_blob(data)
    profiles = tuple(Profile(name, (("b", Range(*rows)),)) for name, rows in ROWS.items())
    variant = Variant(
        TARGET,
        Toolchain((("tensorrt_rtx", tensorrt_rtx.__version__),)),
        "fp32",
        (("y", Tolerance(1e-5, 1e-5)), ("doubled", Tolerance(0.0, 0.0))),
        (Part(tuple(ROWS), (segment(data),), ("y", "doubled")),),
    )
    index = Index(
        "affine", INPUTS, OUTPUTS, profiles, (Golden("rows3", store.put_blob(golden)),), (variant,),
        ((digest_bytes(data), len(data)), (digest_bytes(golden), len(golden))),
        digest_bytes(b"program"),
    )  # fmt: skip
    raw = index.to_bytes()
    store.publish("affine", raw, default_signer().sign(raw))


def test_a_bundle_is_proved_and_served(engine: bytes, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    published(store, engine)
    evidence = validate_and_sign(store, store.resolve("affine@1"), TARGET)
    assert evidence.passed
    assert evidence.machine["gpu"] == torch.cuda.get_device_name()
    major, minor = torch.cuda.get_device_capability()
    assert evidence.machine["arch"] == f"sm_{major}{minor}"

    session = enginebundle.load(f"{tmp_path}/store/affine@1", target=TARGET)
    as_given: list[tuple[Callable[[torch.Tensor], object], str]] = [
        (lambda tensor: tensor, "cpu"),
        (lambda tensor: tensor.numpy(), "cpu"),
        (lambda tensor: tensor.cuda(), "cuda"),
    ]
    for convert, device in as_given:
        given = inputs(7)
        got = session(**{name: convert(tensor) for name, tensor in given.items()})
        assert {tensor.device.type for tensor in got.values()} == {device}
        check(got, given)
    assert isinstance(np.asarray(session(**inputs(2))["y"]), np.ndarray)
