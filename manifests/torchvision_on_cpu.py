"""Let torchvision import beside a CPU build of PyTorch.

PyPI's torchvision carries operators compiled against a CUDA build. Beside a CPU build they do not
load, and then `import torchvision` fails while it registers shapes for `torchvision::nms`; timm
and the model classes of transformers fail with it, since both import torchvision where it is
installed. Declaring the two operators is all that is missing: only detection models, which would
really call them, stay out of reach.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []
"""A library forgets its declarations when it is collected, so it is kept here."""


def prepare() -> None:
    """Import torchvision where it is installed, declaring its operators if they did not load.

    Call it before the first import of timm or of a transformers model. Does nothing where
    torchvision is absent, imported already, or complete.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
        importlib.import_module("torchvision")
