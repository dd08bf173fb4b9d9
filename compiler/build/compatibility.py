"""With which GPUs and TensorRT versions an engine opens besides those that built it.

What this machine's TensorRT can't give refuses the whole build: it is no node's fault, so no node is
handed to torch. Both functions return the refusal as (message, remedy), or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def set_compatibility(
    trt: Any, config: Any, hardware: str, version_compatible: bool
) -> tuple[str, str] | None:
    """Tell the builder, unless this TensorRT has no such level of hardware compatibility.

    `hardware` is one of `enginebundle.format.spec.HARDWARE`, which are named after the levels of
    TensorRT's HardwareCompatibilityLevel.
    """
    if hardware != "exact":
        levels = trt.HardwareCompatibilityLevel.__members__
        if hardware.upper() not in levels:
            return (
                f"{trt.__name__} {trt.__version__} has no hardware compatibility {hardware.upper()}, "
                f"only {', '.join(levels)}",
                "install tensorrt 10.9 or later, or list a trt:sm_NN target for each GPU",
            )
        config.hardware_compatibility_level = levels[hardware.upper()]
    if version_compatible:
        # The engine carries the lean runtime of its version, which later versions load. Without it,
        # each service would need that library of every version whose engines it opens.
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    return None


def missing_lean_runtime(trt: Any, errors: Sequence[str]) -> tuple[str, str] | None:
    """The refusal if TensorRT's errors say that it did not find the lean runtime."""
    for line in errors:
        if "nvinfer_lean" in line:
            return (
                "a version-compatible engine carries TensorRT's lean runtime, and "
                f"{trt.__name__} {trt.__version__} finds none: {line}",
                "install the lean runtime of that version (pip package tensorrt-lean), or leave out "
                "version_compatible",
            )
    return None
