"""TensorRT-RTX: open engines of `rtx:` targets."""

from __future__ import annotations

from enginebundle.errors import RuntimeFailure
from enginebundle.format.variant import Segment
from enginebundle.runtimes.engine import Engine


def open_engine(data: bytes | memoryview, segment: Segment, cuda_graphs: bool = False) -> Engine:
    """Open verified bytes. Raises RuntimeFailure or FormatError. `cuda_graphs`: replay calls whose sizes come
    again."""
    try:
        import tensorrt_rtx
    except (ImportError, OSError) as error:
        raise RuntimeFailure(
            f"tensorrt_rtx can't be imported: {error}. Run pip install 'enginekiln[rtx]'"
        ) from error
    return Engine(tensorrt_rtx, data, segment, {}, cuda_graphs=cuda_graphs)
