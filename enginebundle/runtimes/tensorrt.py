"""TensorRT: open engines of `trt:` targets."""

from __future__ import annotations

from enginebundle.errors import RuntimeFailure
from enginebundle.format.variant import Segment
from enginebundle.runtimes.engine import Engine


def open_engine(data: bytes | memoryview, segment: Segment, host_code: bool = False) -> Engine:
    """Open verified bytes. Raises RuntimeFailure or FormatError.

    `host_code`: let the bytes bring code for the CPU, as a version-compatible engine does.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise RuntimeFailure(
            f"tensorrt can't be imported: {error}. Run pip install 'enginekiln[trt]'"
        ) from error
    return Engine(tensorrt, data, segment, host_code)
