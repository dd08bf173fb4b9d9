"""TensorRT: builds on a machine that has a GPU of the target's architecture."""

from __future__ import annotations

from typing import Any

from compiler.build.builder import BuildRefused
from enginebundle.format.spec import Target


def module() -> Any:
    """The `tensorrt` module. BuildRefused with the remedy if it is not installed."""
    try:
        import tensorrt
    except ImportError as error:
        raise BuildRefused(
            "not_installed", f"tensorrt can't be imported: {error}", "pip install 'enginekiln[trt]'"
        ) from error
    return tensorrt


def check_gpu(target: Target) -> None:
    """BuildRefused unless this machine's GPU is of the architecture that the target names, or of one
    that `trt:ampere_plus` stands for."""
    import torch

    archs = target.archs
    if len(archs) != 1 and target.hardware == "exact":
        raise BuildRefused(
            "architecture", f"a trt target names one architecture, got {'+'.join(archs)}",
            "list one trt:sm_NN target for each",
        )  # fmt: skip
    if not torch.cuda.is_available():
        raise BuildRefused(
            "no_gpu", f"{target} builds on a GPU of {' or '.join(archs)}; this machine has none",
            "add a node with that GPU to the cluster, or choose an rtx: target",
        )  # fmt: skip
    major, minor = torch.cuda.get_device_capability()
    if f"sm_{major}{minor}" not in archs:
        raise BuildRefused(
            "no_gpu", f"{target} builds on {' or '.join(archs)}; this machine's is sm_{major}{minor}",
            "run the build on a node with that GPU",
        )  # fmt: skip
