"""JSON to tensors and back, for services whose clients send lists of numbers.

{"x": [[1.0, 2.0]]} -> {"x": tensor} -> call -> {"y": tensor} -> {"y": [[0.5]]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from enginebundle.errors import InputError
from enginebundle.serve.session import Session


def tensors(session: Session, given: Any) -> dict[str, torch.Tensor]:
    """A request's inputs with the dtypes that the bundle wants. InputError if it is no object of lists."""
    if not isinstance(given, dict):
        raise InputError(f"expected an object of inputs by name, got {type(given).__name__}")
    dtypes = {spec.name: getattr(torch, spec.dtype) for spec in session.inputs}
    try:
        return {name: torch.tensor(value, dtype=dtypes.get(name)) for name, value in given.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected lists of numbers of equal lengths: {error}") from error


def lists(outputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A call's outputs, as JSON has them."""
    return {name: tensor.tolist() for name, tensor in outputs.items()}
