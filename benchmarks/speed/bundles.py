"""Bundles of the subjects' engines, signed with this machine's key, for calls through the loader.

Each has three profiles and an engine for each: batch 1, batch 8, and 1 to 16 for all others, as a service would
have them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.speed import engines
from benchmarks.speed.rows import Key
from benchmarks.speed.subjects import BATCH, DYNAMIC, SUBJECTS
from enginebundle.format.digest import digest_bytes
from enginebundle.format.index import Index
from enginebundle.format.spec import (
    Profile,
    Range,
    Target,
    TensorSpec,
    Tolerance,
    Toolchain,
)
from enginebundle.format.variant import Part, Segment, Variant
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer

FOLDER = Path(tempfile.gettempdir()) / "kiln-gpu-loader"
"""Stores of what was built, so that a later call builds it no more."""
BATCHES = (1, BATCH)


def keys(name: str) -> dict[str, Key]:
    """The engine of each profile."""
    found = {f"b{n}": Key(name, "fp16", "ours", batch=n) for n in BATCHES}
    return found | {"any": Key(name, "fp16", "ours-dynamic")}


def others(name: str) -> dict[int, Key]:
    """The ONNX path's engine for each batch."""
    return {n: Key(name, "fp16", "onnx", batch=n) for n in BATCHES}


def bundle(name: str) -> str:
    """A reference to a model's bundle, which is published on the first call."""
    folder = FOLDER / name
    with engines.once(folder) as missing:
        if missing:
            _publish(folder, name)
    return f"{folder}/{name}@1"


def _publish(folder: Path, name: str) -> None:
    ranges = {f"b{n}": Range(n, n, n) for n in BATCHES} | {"any": DYNAMIC}
    blobs: dict[str, memoryview | bytes] = {}
    parts = []
    for profile, key in keys(name).items():
        made = engines.made(key)
        assert made.segment is not None
        segment = replace(made.segment, profiles=(profile,))
        parts.append(Part((profile,), (segment,), tuple(made.outputs.values())))
        blobs[segment.blob] = made.engine
    inputs, _ = SUBJECTS[name].described("fp16", True)
    outputs = engines.traced(Key(name, "fp16", "ours-dynamic", 0)).graph.outputs
    profiles = tuple(Profile(p, (("b", bounds),)) for p, bounds in ranges.items())
    publish(folder, name, blobs, (inputs, outputs), tuple(parts), profiles)


def publish(
    folder: Path, name: str, blobs: Mapping[str, memoryview | bytes],
    specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]], parts: tuple[Part, ...],
    profiles: tuple[Profile, ...],
) -> None:  # fmt: skip
    """One version with one variant for this GPU. `specs`: the bundle's inputs and outputs."""
    import tensorrt
    import torch

    store = Store.open(folder, create=True)
    for data in blobs.values():
        store.put_blob(data)
    inputs, outputs = specs
    major, minor = torch.cuda.get_device_capability()
    variant = Variant(
        Target.parse(f"trt:sm_{major}{minor}"),
        Toolchain((("tensorrt", str(tensorrt.__version__)),)),
        "fp16",
        tuple((spec.name, Tolerance(0.1, 0.1)) for spec in outputs),
        parts,
    )
    sizes = tuple((digest, len(data)) for digest, data in blobs.items())
    index = Index(
        name, inputs, outputs, profiles, (), (variant,), sizes, digest_bytes(b"benchmark")
    )
    raw = index.to_bytes()
    store.publish(name, raw, default_signer().sign(raw))


def empty() -> str:
    """A reference to a bundle whose engine doubles its one number."""
    import tensorrt as trt

    folder = FOLDER / "empty" / str(os.getpid())
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    x = network.add_input("x", trt.float32, (1,))
    y = network.add_elementwise(x, x, trt.ElementWiseOperation.SUM).get_output(0)
    y.name = "y"
    network.mark_output(y)
    engine = bytes(builder.build_serialized_network(network, builder.create_builder_config()))
    given, made = ((TensorSpec(n, "float32", (1,)),) for n in "xy")
    segment = Segment("engine", digest_bytes(engine), None, given, made, ("p",))
    parts = (Part(("p",), (segment,), ("y",)),)
    publish(folder, "empty", {segment.blob: engine}, (given, made), parts, (Profile("p", ()),))
    return f"{folder}/empty@1"
