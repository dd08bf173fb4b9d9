"""TensorRT-RTX: builds without a GPU, for the architectures it is given."""

from __future__ import annotations

from typing import Any

from compiler.build.builder import BuildRefused


def module() -> Any:
    """The `tensorrt_rtx` module. BuildRefused with the remedy if it is not installed."""
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise BuildRefused(
            "not_installed",
            f"tensorrt_rtx can't be imported: {error}",
            "pip install 'enginekiln[rtx]'",
        ) from error
    return tensorrt_rtx
