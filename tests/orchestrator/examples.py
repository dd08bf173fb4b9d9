"""A model, an installation and the outputs of its steps: values that several tests start from."""

from __future__ import annotations

from typing import Any

from compiler.goldens.source import GoldenSource
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Toolchain
from orchestrator.manifest.model import Model
from orchestrator.plan.installed import Installed

MODEL = Model(
    name="m",
    source=Source(entrypoint="zoo:m", kwargs=(("depth", 2),), trusted=False, search_path=("/a",)),
    inputs=(TensorSpec("x", "float32", ("b", 3)),),
    profiles=(Profile("p", (("b", Range(1, 2, 4)),)), Profile("q", (("b", Range(1, 8, 8)),))),
    targets=(Target.parse("rtx:sm_89"), Target.parse("torch:cpu")),
    goldens=GoldenSource(seed=0, cases=3, high=(("x", 5),)),
    replace=(Replacement("operator", "aten.gelu.default", "converter", "zoo:gelu"),),
)
CONTENT: dict[str, Any] = {
    "source": "sha256:1",
    "goldens": "sha256:2",
    "files": {"vocab.txt": "sha256:3"},
    "PYTHONPATH": 1,
    "attachments": {"labels.txt": {"path": "/a/labels.txt", "digest": "sha256:4"}},
}
INPUTS: dict[str, Any] = {
    "files": {
        "./zoo.py": "sha256:1",
        "<PYTHONPATH 0>/shared.py": "sha256:2",
        "/data/w.pt": "sha256:3",
    },
    "looks": {"./extra.json": "absent", "./big.bin": "file of 12 bytes"},
    "folders": {"./shards": "sha256:4"},
    "links": {"./current": "v1"},
    "imports": {".": {"zoo": "zoo.py", "faster": None}, "<site-packages 0>": {"faster": None}},
    "variables": {"SCALE": "sha256:5", "TIMM_FUSED_ATTN": None},
    "distributions": {"torch": "2.13.0", "faster": None},
}
"""What a trace of MODEL might read."""
INSTALLED = Installed(
    python="3.11.7",
    platform="linux-x86_64",
    distributions=Toolchain(
        (
            ("torch", "2.13.0"),
            ("numpy", "2.4.0"),
            ("tensorrt-rtx-cu13", "1.5.0.114"),
            ("tensorrt-cu13", "11.4"),
            ("transformers", "5.0"),
            ("rich", "14"),
        )
    ),
    packages=(("compiler", "sha256:c"), ("enginebundle", "sha256:e"), ("orchestrator", "sha256:o")),
)
TRACED: dict[str, Any] = {
    "graph": "sha256:g",
    "weights": "sha256:w",
    "program": "sha256:p",
    "skeleton": "sha256:s",
    "weights_bytes": 10,
    "inputs": [TensorSpec("x", "float32", ("b", 3)).to_json()],
    "outputs": [TensorSpec("y", "float32", ("b", 3)).to_json()],
    "goldens": [{"name": "a", "blob": "sha256:a"}],
    "plain": {"graph": "sha256:h", "weights": "sha256:w", "program": "sha256:q"},
    "between": True,
    "structure": {"kind": "tuple", "items": ["y"]},
    "unchecked": ["model.py:7 in forward: `assert (x > 0).all()`"],
    "replaced": [{"operator": "aten.gelu.default", "converter": "zoo:gelu", "places": ["gelu"]}],
}
BUILT = {
    "part": {"profiles": ["p"], "segments": []},
    "toolchain": {"torch": "2.13.0"},
    "precision": "fp32",
    "tolerances": {"y": {"atol": 1e-4, "rtol": 1e-4}},
    "report": "sha256:r",
    "bytes": 5,
    "evaluated": None,
    "blobs": {"sha256:b": 5},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "trace": TRACED,
    "build": BUILT,
    "publish": {"version": 1, "index": "sha256:i"},
    "validate": {"passed": True, "worst": 0.5, "evidence": "sha256:v"},
}
