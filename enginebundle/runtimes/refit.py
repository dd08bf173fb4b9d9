"""Supplies an engine that was built without its weights with them, before anything runs on it.

The weights come from verified blobs. TensorRT copies them, so they may be freed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError
from enginebundle.runtimes.dtypes import DTYPES

if TYPE_CHECKING:
    import torch


def refit(trt: Any, engine: Any, logger: Any, weights: Mapping[str, torch.Tensor]) -> str:
    """Set every weight that the engine lacks. Returns what TensorRT refused; empty if nothing.

    FormatError if `weights` and the engine do not belong together: one has no weights apart, or a
    weight is missing or has another dtype or size. Weights that the engine does not ask for are left.
    """
    if not engine.refittable:
        if weights:
            raise FormatError("the segment has weights, but its engine can't be refitted")
        return ""
    refitter = trt.Refitter(engine, logger)
    held = []
    for name in refitter.get_all_weights():
        tensor = _fitting(refitter.get_weights_prototype(name), name, weights).contiguous()
        held.append(tensor)  # TensorRT gets its address only
        dtype = getattr(trt.DataType, _NAMES[str(tensor.dtype).removeprefix("torch.")])
        given = trt.Weights(dtype, tensor.data_ptr(), tensor.numel())
        if not refitter.set_named_weights(name, given):
            return f"weight {name!r} was refused"
    if missing := refitter.get_missing_weights():
        return f"refitting also needs {len(missing)} other weights, {missing[0]!r} first"
    return "" if refitter.refit_cuda_engine() else "refitting failed"


_NAMES = {torch_name: name for name, torch_name in DTYPES.items()}


def _fitting(wanted: Any, name: str, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The weight of that name. FormatError if it is missing or not of the dtype and size wanted."""
    tensor = weights.get(name)
    if tensor is None:
        raise FormatError(f"the engine needs the weight {name!r}, which the bundle does not have")
    dtype, expected = str(tensor.dtype).removeprefix("torch."), DTYPES.get(wanted.dtype.name)
    if (dtype, tensor.numel()) != (expected, wanted.size):
        raise FormatError(
            f"weight {name!r}: expected {wanted.size} elements of {expected}, "
            f"got {tensor.numel()} of {dtype}"
        )
    return tensor
