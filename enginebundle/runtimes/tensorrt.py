"""TensorRT: open engines of `trt:` targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from enginebundle.errors import RuntimeFailure
from enginebundle.format.variant import Segment
from enginebundle.runtimes.engine import Engine

if TYPE_CHECKING:
    import torch


def open_engine(
    data: bytes | memoryview, segment: Segment, weights: Mapping[str, torch.Tensor] | None = None,
    host_code: bool = False, cuda_graphs: bool = False,
) -> Engine:  # fmt: skip
    """Open verified bytes, and refit with verified `weights` by name. Raises RuntimeFailure or FormatError.

    `host_code`: let the bytes bring code for the CPU, as a version-compatible engine does. `cuda_graphs`:
    replay calls whose sizes come again.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise RuntimeFailure(
            f"tensorrt can't be imported: {error}. Run pip install 'enginekiln[trt]'"
        ) from error
    return Engine(tensorrt, data, segment, weights or {}, host_code, cuda_graphs)
