"""One row: what a Key asks for, built, checked and timed. And what of it a machine without a GPU can do."""

from __future__ import annotations

import functools
import importlib.util
import time
from typing import Any

import torch

from benchmarks.speed import engines, layers
from benchmarks.speed.clock import Raw, apart, milliseconds, plain_and_graph
from benchmarks.speed.rows import Key
from benchmarks.speed.subjects import SUBJECTS, build, named

LIMITS = {"fp16": 0.05, "fp32": 1e-4}
"""The largest relative L2 distance from eager float32 of a row that counts."""
ONNX = ("onnx", "onnxscript", "onnx_ir")


def obstacle(key: Key) -> str:
    """Why this machine can't measure the row; empty if it can."""
    if not torch.cuda.is_available():
        return "this machine has no CUDA GPU"
    wanted = ("tensorrt",) if key.is_engine else ()
    wanted += ONNX if key.source == "onnx" else ()
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    return f"not installed here: {', '.join(missing)}" if missing else ""


def measure(key: Key) -> dict[str, Any]:
    """The row's figures, with `state` right or wrong."""
    row = _engine(key) if key.is_engine else _torch(key)
    fine = row["l2"] <= LIMITS[key.precision]
    return row | {"state": "right" if fine else "wrong"}


@functools.lru_cache(4)
def wanted(model: str) -> dict[str, torch.Tensor]:
    """What eager float32 gives on the GPU, without TF32."""
    with torch.no_grad():
        found = named(build(model).cuda()(**_on_gpu(model, "fp32")))
    return {name: tensor.cpu() for name, tensor in found.items()}


def _on_gpu(model: str, precision: str, batch: int | None = None) -> dict[str, torch.Tensor]:
    subject = SUBJECTS[model]
    feeds = subject.feeds() if batch is None else subject.feeds(batch)
    half = precision == "fp16"
    return {
        name: (t.half() if half and t.is_floating_point() else t).cuda()
        for name, t in feeds.items()
    }


def _engine(key: Key) -> dict[str, Any]:
    import tensorrt as trt

    from enginebundle.runtimes.tensorrt import open_engine

    right = wanted(key.model)
    made = engines.made(key)
    row: dict[str, Any] = {"build_seconds": made.seconds, "bytes": len(made.engine)}
    raw = Raw(trt, made.engine, SUBJECTS[key.model].feeds())
    found = raw.results()
    row["l2"] = apart({name: found[own] for name, own in made.outputs.items()}, right)
    row |= plain_and_graph(raw)
    if key.build == 1:
        layers.write(trt, raw, key)
    if made.segment is not None:
        del raw
        # Ours takes float inputs as declared: float32 but for caches.
        given = SUBJECTS[key.model].feeds()
        declared = {s.name: getattr(torch, s.dtype) for s in made.segment.inputs}
        feeds = {name: given[name].to(kind).cuda() for name, kind in declared.items()}
        for name, cuda_graphs in (("loader_ms", False), ("loader_graph_ms", True)):
            loaded = open_engine(made.engine, made.segment, cuda_graphs=cuda_graphs)
            with torch.cuda.stream(torch.cuda.Stream()):
                row[name] = milliseconds(lambda loaded=loaded: loaded(feeds, "p"))
    return row


def _torch(key: Key) -> dict[str, Any]:
    right = wanted(key.model)
    model = build(key.model, key.precision == "fp16").cuda()
    feeds = _on_gpu(key.model, key.precision)
    call: Any = model
    row: dict[str, Any] = {}
    with torch.no_grad():
        if key.source == "inductor":
            call = compiled(key, model, feeds)
        start = time.perf_counter()
        if key.way == "dynamic":  # at another size, so that the one that is timed is not built in
            call(**_marked(key, _on_gpu(key.model, key.precision, 3)))
        feeds = _marked(key, feeds)
        found = named(call(**feeds))
        torch.cuda.synchronize()
        row["build_seconds"] = round(time.perf_counter() - start, 1)
        row["l2"] = apart(found, right)
        return row | plain_and_graph(lambda: call(**feeds))


def compiled(key: Key, model: Any, feeds: Any) -> Any:
    """`torch.compile`, from nothing: static; or with dynamic=True, under which every size is dynamic."""
    torch._dynamo.reset()
    if key.path == "inductor-tuned":
        return torch.compile(model, dynamic=False, mode="max-autotune-no-cudagraphs")
    if key.path == "inductor-marked":
        return torch.compile(model)
    return torch.compile(model, dynamic=key.way == "dynamic")


def _marked(key: Key, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if key.path == "inductor-marked":
        for tensor in feeds.values():
            torch._dynamo.mark_dynamic(tensor, 0)
    return feeds


def build_engine(key: Key) -> dict[str, Any]:
    """Only build, for a row that another process measures later."""
    made = engines.made(key)
    return {"state": "built", "build_seconds": made.seconds, "bytes": len(made.engine)}


def rehearse(key: Key) -> dict[str, Any]:
    """What needs neither a GPU nor TensorRT: trace and convert, or export; eager on the CPU."""
    start = time.perf_counter()
    row: dict[str, Any] = {"skipped": obstacle(key)}
    if key.source == "ours":
        parts = engines.converted(key)
        networks = [network for network in parts.networks if network is not None]
        row["segments"] = len(parts.networks)
        row["layers"] = sum(len(network.layers) for network in networks)
        row["state"] = "one network" if len(parts.networks) == len(networks) == 1 else "partly"
    elif key.source == "onnx":
        missing = [name for name in ONNX if importlib.util.find_spec(name) is None]
        if missing:
            return row | {"state": f"not exported: {', '.join(missing)} not installed"}
        import onnx

        path = str(engines.exported(key))
        onnx.checker.check_model(path)
        row |= {"state": "exported", "file": path}
    else:
        with torch.no_grad():
            found = named(build(key.model)(**SUBJECTS[key.model].feeds()))
        finite = all(bool(t.isfinite().all()) for t in found.values())
        row |= {"state": "ran on the CPU" if finite else "not finite", "outputs": len(found)}
    return row | {"seconds": round(time.perf_counter() - start, 1)}
