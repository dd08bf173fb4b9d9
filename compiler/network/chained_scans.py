"""Finds scans behind scans, which full TensorRT 10.6 gets wrong where sizes are dynamic.

On an H200 two recurrent layers, one behind the other, in an engine for up to 512 steps were right from two
steps on and wrong at one step of one batch; in both directions they read outside their memory, of a fixed
number of steps too where the batch was dynamic. One layer was right at every length, alone or with other
layers behind it, and so were two in one direction of a fixed number of steps, and two in both directions
where every size was fixed (benchmarks/gpu_recurrent.py, gpu_models_trt.py).

    chained_scans(network) -> the nodes whose scan is behind another one
"""

from __future__ import annotations

from compiler.network.kinds.loop import Scan
from compiler.network.network import Layer, Network


def chained_scans(network: Network) -> tuple[str, ...]:
    """Names of graph nodes, in order."""
    behind: set[str] = set()
    found: dict[str, None] = {}
    for layer in network.layers:
        after = any(t is not None and t.name in behind for t in layer.inputs)
        if layer.row is Scan and _at_fault(layer):
            if after:
                found[layer.node] = None
            after = True
        if after:
            behind |= {t.name for t in layer.outputs}
    return tuple(found)


def _at_fault(layer: Layer) -> bool:
    over = layer.inputs[1]
    assert over is not None
    both = len(set(layer.attributes["rows"])) > 1
    return None in (over.shape if both else over.shape[:1])
