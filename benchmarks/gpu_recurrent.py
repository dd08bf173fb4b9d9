"""Recurrent layers as loops on a GPU: are they right at every length, and what does a call take?

    python benchmarks/gpu_recurrent.py [--seconds 500] [--only lstm-fp32 ...] [--modules tensorrt tensorrt_rtx]

On a machine with a GPU and TensorRT, TensorRT-RTX, or both. One engine a row, of the layers in
benchmarks/recurrent.py, one layer deep and two layers deep in both directions: it takes 1 to 512 steps
and batch 1 to 8. At each of several sizes its outputs are compared with eager float32 PyTorch on the
CPU (relative L2 distance), and at batch 4 a call is timed, by itself and in a CUDA graph, beside
PyTorch's own layer (cuDNN) on the same GPU. `build_s` are the build's wall seconds, and those of
an engine for at most 16 steps. Rows are kept in benchmarks/results/gpu_recurrent.json as they come; what
is there is not measured again. Exit code 1 if a row failed or is off by more than 1e-4 (fp32) or 0.02 (fp16).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import recurrent, results  # noqa: E402
from compiler.refused import Refused  # noqa: E402

FORMS: dict[str, dict[str, Any]] = {"": {}, "-deep": {"num_layers": 2, "bidirectional": True}}
OFF = {"fp32": 1e-4, "fp16": 0.02}
NAMES = [f"{k}{form}-{p}" for p in OFF for form in FORMS for k in recurrent.LAYERS]
SIZES = ((1, 1), (4, 2), (3, 7), (8, 16), (4, 128), (1, 300), (4, 512))
"""(batch, steps)."""
TIMED = 4
MOST_STEPS, FEW_STEPS = 512, 16
LISTED = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
"""What TensorRT-RTX names; on other GPUs engines for sm_80 run."""


def measure(name: str, module: str) -> dict[str, Any]:
    """A row: how far off at each size, and milliseconds."""
    import torch

    from benchmarks.speed.clock import Raw, apart, plain_and_graph
    from compiler.build.builder import EngineOptions, build_engine
    from tests.gpu.execute import execute

    trt = importlib.import_module(module)
    kind, form, precision = split(name)
    model = recurrent.layer(kind, **FORMS[form])
    major, minor = torch.cuda.get_device_capability()
    arch, rtx = f"sm_{major}{minor}", module == "tensorrt_rtx"
    arch = arch if arch in LISTED or not rtx else "sm_80"
    target, named = f"{'rtx' if rtx else 'trt'}:{arch}", (arch,) if rtx else ()
    row: dict[str, Any] = {"target": target, "build_s": {}}
    for steps in (FEW_STEPS, MOST_STEPS):
        graph, network, profiles, _ = recurrent.converted(
            model, "dynamic", steps, target, precision
        )
        start = time.perf_counter()
        options = EngineOptions(profiles, capabilities=named)
        engine = build_engine(trt, network, graph, options)
        row["build_s"][steps] = round(time.perf_counter() - start, 2)
    names = [name for name, _ in network.outputs]
    (given,) = (spec.name for spec in graph.inputs)
    row |= {"engine_mb": round(len(engine) / 1e6, 2), "off": {}, "ms": {}}
    on_gpu = recurrent.layer(kind, **FORMS[form]).cuda()
    on_gpu = on_gpu.half() if precision == "fp16" else on_gpu
    for batch, steps in SIZES:
        x = torch.randn(batch, steps, recurrent.FEATURES)
        with torch.no_grad():
            want = dict(zip(names, torch.utils._pytree.tree_leaves(model(x)), strict=True))
        row["off"][f"{batch}x{steps}"] = apart(execute(trt, engine, {given: x}), want)
        if batch == TIMED:
            held = x.cuda().to(on_gpu.weight_ih_l0.dtype)
            with torch.no_grad():
                eager = plain_and_graph(lambda held=held: on_gpu(held))
            row["ms"][steps] = {
                "ours": plain_and_graph(Raw(trt, engine, {given: x})),
                "eager": eager,
            }
    return row | {"right": max(row["off"].values()) <= OFF[precision]}


def split(name: str) -> tuple[str, str, str]:
    """ "gru-deep-fp16": the layer, its form, the precision."""
    kind, *form, precision = name.split("-")
    return kind, "".join(f"-{one}" for one in form), precision


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--modules", nargs="+", default=["tensorrt", "tensorrt_rtx"])
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("this machine has no CUDA GPU")
        return 2
    end = time.monotonic() + options.seconds
    path = results.FOLDER / "gpu_recurrent.json"
    rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    here = [module for module in options.modules if importlib.util.find_spec(module)]
    for key, name, module in [
        (f"{module} {n}", n, module) for n in options.only for module in here
    ]:
        if key in rows or time.monotonic() > end:
            continue
        try:
            rows[key] = measure(name, module)
        except Refused as error:
            rows[key] = {"right": None, "refused": str(error)[:1000]}
        except (AssertionError, RuntimeError) as error:
            rows[key] = {"right": False, "failed": str(error)[:1000]}
        print(key, json.dumps(rows[key]), flush=True)
        results.write("gpu_recurrent", {"gpu": results.gpu(), "rows": rows}, show=False)
    left = [n for n in options.only for module in here if f"{module} {n}" not in rows]
    return int(bool(left) or any(row["right"] is False for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
