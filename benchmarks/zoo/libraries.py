"""transformers and timm, importable even if torchvision does not fit torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
if str(MANIFESTS) not in sys.path:
    sys.path.append(str(MANIFESTS))  # the quickstart's models and its torchvision helper


def transformers() -> Any:
    """The package. A model's code is imported on the first use of its class."""
    return _prepared("transformers")


def timm() -> Any:
    return _prepared("timm")


def available() -> bool:
    """Whether the packages that the zoo builds from are installed."""
    return all(importlib.util.find_spec(name) for name in ("timm", "transformers"))


def _prepared(name: str) -> Any:
    from torchvision_on_cpu import prepare

    prepare()
    return importlib.import_module(name)
