"""TensorRT's element types by torch's names."""

from __future__ import annotations

from collections.abc import Mapping

DTYPES: Mapping[str, str] = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32",
    "INT64": "int64", "BOOL": "bool", "UINT8": "uint8", "FP8": "float8_e4m3fn",
}  # fmt: skip
"""Element types: TensorRT's name -> torch's name."""
