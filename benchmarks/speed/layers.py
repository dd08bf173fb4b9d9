"""Which kernels an engine runs, by TensorRT's engine inspector, and how long each takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks import results
from benchmarks.speed.clock import Raw
from benchmarks.speed.rows import Key

CALLS = 40
FOLDER = results.FOLDER / "gpu_speed_layers"


def write(trt: Any, raw: Raw, key: Key) -> None:
    """Describe the engine's layers in a file of FOLDER, named after the row."""
    with torch.cuda.stream(torch.cuda.Stream()):
        said = described(trt, raw)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{key.model}-{key.precision}-{key.path}.txt").write_text(said)


def times(trt: Any, raw: Raw) -> dict[str, float]:
    """Microseconds of each layer, the mean of CALLS calls. The sum is more than an unprofiled call's."""
    found: dict[str, list[float]] = {}

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            found.setdefault(layer_name, []).append(ms * 1000)

    for _ in range(10):
        raw()
    torch.cuda.synchronize()
    raw.context.profiler = Profiler()
    for _ in range(CALLS):
        raw()
        torch.cuda.synchronize()
    return {name: sum(all_) / CALLS for name, all_ in found.items()}


def described(trt: Any, raw: Raw) -> str:
    """A line a layer: microseconds, kind, name, tactic, and the formats of what goes in and out."""
    inspector = raw.engine.create_engine_inspector()
    inspector.execution_context = raw.context
    told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    took = times(trt, raw)
    lines = [f"{len(told['Layers'])} layers, {sum(took.values()):.0f} us with the profiler on", ""]
    for layer in told["Layers"]:
        if isinstance(layer, str):
            layer = {"Name": layer}
        name = layer["Name"]
        spent = took.get(name)
        lines.append(
            f"{'' if spent is None else f'{spent:.1f}':>7} {layer.get('LayerType', '?'):14} {name}"
        )
        tactic = layer.get("TacticName") or layer.get("TacticValue")
        for label, said in (
            ("tactic", tactic),
            ("in", "; ".join(_tensor(t) for t in layer.get("Inputs", ()))),
            ("out", "; ".join(_tensor(t) for t in layer.get("Outputs", ()))),
        ):
            if said:
                lines.append(f"{'':8}{label:7}{str(said)[:500]}")
    return "\n".join(lines) + "\n"


def _tensor(tensor: Mapping[str, Any]) -> str:
    sizes = "x".join(map(str, tensor.get("Dimensions", ())))
    return f"{tensor.get('Name', '?')} {sizes} {tensor.get('Format/Datatype', '')}".strip()
