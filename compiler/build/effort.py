"""How much work TensorRT puts into a build: `fast`, `default` or `max`. It is part of a key.

    fast       optimization level 1, without the convolutions that are compiled while building
    default    TensorRT's own choice: level 3 and its own tactic sources
    max        level 5: a kernel is compiled for everything, and compared with the ready-made ones

Level 0 is left out: it takes the first tactic that works and ignores a timing cache. So are the tactic
sources that TensorRT itself leaves out and deprecates (cuBLAS, cuDNN).

TensorRT-RTX builds the same engine at every level (measured: equal bytes), so there it is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"
_LEVELS: Mapping[str, int] = {"fast": 1, DEFAULT: 3, "max": 5}
EFFORTS = tuple(_LEVELS)


def times_tactics(trt: Any) -> bool:
    """Whether this module times tactics on a GPU: TensorRT does, TensorRT-RTX does not."""
    return bool(trt.__name__ == "tensorrt")


def set_effort(trt: Any, config: Any, effort: str) -> None:
    """Tell the builder. `default` leaves everything as TensorRT has it; so does TensorRT-RTX."""
    if effort == DEFAULT or not times_tactics(trt):
        return
    config.builder_optimization_level = _LEVELS[effort]
    if effort == "fast":
        # TensorRT says of this source that it may lengthen builds.
        slow = 1 << int(trt.TacticSource.JIT_CONVOLUTIONS)
        config.set_tactic_sources(config.get_tactic_sources() & ~slow)
