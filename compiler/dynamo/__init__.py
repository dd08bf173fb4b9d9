"""`torch.compile(model, backend="kiln")`: TensorRT engines for each graph that Dynamo finds.

    model = torch.compile(model, backend="kiln", options={"precision": "fp16"})
    with torch.no_grad():
        model(x)                        # traced, partitioned, built or fetched from the store, run

For models with graph breaks and control flow that depends on data: each graph is compiled separately,
and what can't be compiled runs in torch, with one warning that says why. `Options` are in
compiler/dynamo/options.py.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch._dynamo import register_backend
from torch._dynamo.backends import registry

from compiler.dynamo.build import SIMULATED, StateWritten
from compiler.dynamo.compiled import Compiled
from compiler.dynamo.options import Options
from compiler.dynamo.region import RegionRefused
from compiler.dynamo.sort import region_of
from compiler.dynamo.tell import KilnWarning, fall_back
from enginebundle.format.spec import Target

__all__ = ["KilnWarning", "Options", "kiln"]

NAME = "kiln"


def kiln(
    graph: torch.fx.GraphModule,
    inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Compile one of Dynamo's graphs; torch calls this. ValueError for unknown options."""
    chosen = Options.of(options)
    if mode not in (None, "default"):
        raise ValueError(f"kiln has no mode {mode!r}; use options instead")
    if not chosen.simulate and not torch.cuda.is_available():
        if chosen.require_full_compilation:
            raise RegionRefused("no_gpu", "engines run on a CUDA GPU; torch sees none", _REMEDY)
        _say_no_gpu()
        return graph.forward
    try:
        return _compiled(graph, inputs, chosen)
    except RegionRefused as refused:
        if chosen.require_full_compilation:
            raise
        if refused.code != "empty":
            fall_back("", refused.code, refused.message, refused.remedy)
        return graph.forward


def _compiled(graph: torch.fx.GraphModule, inputs: Sequence[Any], chosen: Options) -> Compiled:
    """What is called in place of the graph. What it writes into, a buffer too, is an input of its engines."""
    region = region_of(graph, chosen.growth)
    try:
        return Compiled(region, graph.forward, chosen, _target(chosen)).prepare(inputs)
    except StateWritten as found:
        if not found.names <= region.weights.keys():
            raise
        state = frozenset(region.weights[name] for name in found.names)
    region = region_of(graph, chosen.growth, state)
    return Compiled(region, graph.forward, chosen, _target(chosen)).prepare(inputs)


_REMEDY = 'options={"simulate": True} computes the networks on the CPU instead'


@functools.cache
def _say_no_gpu() -> None:
    warnings.warn(
        f"kiln: engines run on a CUDA GPU and torch {torch.__version__} sees none, so the model "
        f"runs in torch. {_REMEDY}",
        KilnWarning,
        stacklevel=2,
    )


def _target(options: Options) -> Target:
    """The requested target, else this machine's GPU and the TensorRT that is installed."""
    if options.target is not None:
        return options.target
    if options.simulate:
        return SIMULATED
    major, minor = torch.cuda.get_device_capability()
    # TensorRT-RTX does not list sm_90, though it runs there: that takes an explicit target.
    official = (major, minor) != (9, 0)
    rtx = find_spec("tensorrt_rtx") is not None and (official or find_spec("tensorrt") is None)
    return Target("rtx" if rtx else "trt", (f"sm_{major}{minor}",))


# If the package is installed, torch finds the backend by its entry point and registers it itself;
# registering it twice would be an error.
if NAME not in registry._BACKENDS:
    register_backend(kiln, NAME)
