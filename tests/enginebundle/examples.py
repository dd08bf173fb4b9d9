"""A small bundle, made by hand: y = relu(x @ w + bias) and the number of rows, with two profiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save

from enginebundle.format.digest import Digest, canonical_json, digest_bytes
from enginebundle.format.graph import Graph, Node, Ref, Value, Weight, Word
from enginebundle.format.index import Golden, Index
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.variant import Part, Segment, Variant
from enginebundle.storage.bundles import Version
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer

CPU = Target.parse("torch:cpu")
X = TensorSpec("x", "float32", ("b", 3))
MASK = TensorSpec("mask", "bool", ("b",))
Y = TensorSpec("y", "float32", ("b", 2))
ROWS = TensorSpec("rows", "int64", ())
PROFILES = (
    Profile("short", (("b", Range(1, 2, 4)),)),
    Profile("long", (("b", Range(2, 8, 16)),)),
)
WEIGHTS = {
    "w": torch.tensor([[1.0, -1.0], [0.5, 2.0], [-3.0, 0.25]]),
    "bias": torch.tensor([0.125, -0.5]),
}
PROGRAM = digest_bytes(b"program")


def expected(x: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the model computes."""
    y = torch.relu(x @ WEIGHTS["w"] + WEIGHTS["bias"]) * mask.unsqueeze(1)
    return {"y": y, "rows": torch.tensor(x.shape[0])}


def weight(name: str) -> Weight:
    tensor = WEIGHTS[name]
    spec = TensorSpec(name, "float32", tuple(tensor.shape))
    return Weight(spec, digest_bytes(tensor.numpy().tobytes()))


def graph() -> Graph:
    """The model as a torch graph, with multi-output, size and keyword-argument calls."""

    def node(op: str, args: tuple, *outputs: Value, **kwargs: object) -> Node:  # type: ignore[type-arg]
        return Node(op, args, tuple(kwargs.items()), outputs)  # type: ignore[arg-type]

    half = Value("half.0", "float32", ("b", 1)), Value("half.1", "float32", ("b", 1))
    return Graph(
        (X, MASK),
        (weight("w"), weight("bias")),
        (
            node("aten.addmm.default", (Ref("bias"), Ref("x"), Ref("w")), Value("lin", "float32", ("b", 2))),
            node("aten.relu.default", (Ref("lin"),), Value("act", "float32", ("b", 2))),
            node("aten.split.Tensor", (Ref("act"), 1, -1), *half),
            node("aten.cat.default", ((Ref("half.0"), Ref("half.1")), 1), Value("both", "float32", ("b", 2))),
            node("aten.unsqueeze.default", (Ref("mask"), 1), Value("mask1", "bool", ("b", 1))),
            node("aten.mul.Tensor", (Ref("both"), Ref("mask1")), Value("y0", "float32", ("b", 2))),
            node("aten.sym_size.int", (Ref("x"), 0), Value("size", "symint")),
            node("sym.mul", (Ref("size"), 1), Value("size1", "symint")),
            node("aten.scalar_tensor.default", (Ref("size1"),), Value("rows0", "int64"),
                 dtype=Word("dtype", "int64"), device=Word("device", "cpu")),
        ),
        (replace(Y, name="y0"), replace(ROWS, name="rows0")),
        ("y0", "rows0"),
    )  # fmt: skip


def goldens() -> dict[str, dict[str, torch.Tensor]]:
    """The cases by name, each {"input.x": ..., "output.y": ...}."""
    cases = {}
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 3, 16):
        x = torch.randn(rows, 3, generator=generator)
        mask = torch.arange(rows) % 2 == 0
        outputs = expected(x, mask)
        cases[f"rows{rows}"] = {
            "input.x": x,
            "input.mask": mask,
            **{f"output.{name}": tensor for name, tensor in outputs.items()},
        }
    return cases


def cpu_variant(blob: Digest, weights: Digest) -> Variant:
    segment = Segment("torch_graph", blob, weights, (X, MASK), graph().outputs, ("short", "long"))
    return Variant(
        CPU,
        Toolchain((("torch", "2.13.0"),)),
        "fp32",
        (("y", Tolerance(1e-6, 1e-5)), ("rows", Tolerance(0.0, 0.0))),
        (Part(("short", "long"), (segment,), ("y0", "rows0")),),
    )


def engine_variant(target: str, blob: Digest, version: str = "1.5.0.114") -> Variant:
    segment = Segment("engine", blob, None, (X, MASK), (Y, ROWS), ("short", "long"))
    module = "tensorrt" if target.startswith("trt:") else "tensorrt_rtx"
    return Variant(
        Target.parse(target),
        Toolchain(((module, version),)),
        "fp32",
        (("y", Tolerance(1e-6, 1e-5)), ("rows", Tolerance(0.0, 0.0))),
        (Part(("short", "long"), (segment,), ("y", "rows")),),
    )


def index(store: Store, name: str = "tiny", label: str = "") -> Index:
    """Store the blobs. Returns the index over them: torch:cpu, and an engine that is not one."""
    datas = {
        "graph": canonical_json(graph().to_json()),
        "weights": save(WEIGHTS),
        "engine": b"not an engine",
        **{case: save(tensors) for case, tensors in goldens().items()},
    }
    digests = {key: store.put_blob(data) for key, data in datas.items()}
    return Index(
        name,
        (X, MASK),
        (Y, ROWS),
        PROFILES,
        tuple(Golden(case, digests[case]) for case in goldens()),
        (
            cpu_variant(digests["graph"], digests["weights"]),
            engine_variant("rtx:sm_89", digests["engine"]),
        ),
        tuple((digest_bytes(data), len(data)) for data in datas.values()),
        PROGRAM,
        (("note", label),),
    )


def publish(store: Store, name: str = "tiny", label: str = "", alias: str = "latest") -> Version:
    """Publish the small bundle, signed with this machine's key, and point an alias at it."""
    raw = index(store, name, label).to_bytes()
    version = store.publish(name, raw, default_signer().sign(raw))
    store.set_alias(name, alias, version.number)
    return version


def new_store(folder: Path) -> Store:
    return Store.open(folder / "store", create=True)


def reference(store: Store, name: str = "tiny") -> str:
    """What `load` takes for a bundle in the store."""
    return f"{store.uri}/{name}"
