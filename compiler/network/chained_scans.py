"""Finds scans behind scans, which full TensorRT 10.6 gets wrong where the number of steps is dynamic.

On an H200 two recurrent layers, one behind the other, in an engine for up to 512 steps were right from two
steps on, wrong at one step of one batch, and in both directions read outside their memory; one layer was
right at every length, and so were two of a fixed number of steps (benchmarks/gpu_recurrent.py).

    chained_scans(network) -> the nodes whose scan is behind another one
"""

from __future__ import annotations

from compiler.network.kinds.loop import Scan
from compiler.network.network import Network


def chained_scans(network: Network) -> tuple[str, ...]:
    """Names of graph nodes, in order."""
    behind: set[str] = set()
    found: dict[str, None] = {}
    for layer in network.layers:
        over = layer.row is Scan and layer.inputs[1]
        after = any(t is not None and t.name in behind for t in layer.inputs)
        if over and over.shape[0] is None:
            if after:
                found[layer.node] = None
            after = True
        if after:
            behind |= {t.name for t in layer.outputs}
    return tuple(found)
