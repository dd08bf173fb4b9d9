"""How much work TensorRT puts into a build: `fast`, `default` or `max`. It is part of a key.

    fast       level 0: the first kernels that fit, none of them timed
    default    TensorRT's own choice: level 3 and its own tactic sources
    max        level 5: a kernel is compiled for everything, and compared with the ready-made ones

On an H200, MobileNetV2 takes 2.8 s at level 0, 15 at level 1 (11 of them on the processor) and 17 at level 3,
and runs in 0.33, 0.30 and 0.28 ms: level 1 is not worth its name. Tactic sources that TensorRT itself leaves out
and deprecates (cuBLAS, cuDNN) are left out.

TensorRT-RTX builds the same engine at every level (measured: equal bytes), so there it is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
_LEVELS: Mapping[str, int] = {"fast": 0, DEFAULT: 3, "max": 5}
EFFORTS = tuple(_LEVELS)


def times_tactics(trt: Any) -> bool:
    """Whether this module times tactics on a GPU: TensorRT does, TensorRT-RTX does not."""
    return bool(trt.__name__ == "tensorrt")


def set_effort(trt: Any, config: Any, effort: str) -> None:
    """Tell the builder. `default` leaves everything as TensorRT has it; so does TensorRT-RTX."""
    if effort == DEFAULT or not times_tactics(trt):
        return
    config.builder_optimization_level = _LEVELS[effort]
