"""Inputs inside lists, dicts and dataclasses, by their names: `feats.0`, `batch.ids`.

flattened({"feats": [a, b], "batch": {"ids": c}}, ["feats.0", "feats.1", "batch.ids"])
    -> {"feats.0": a, "feats.1": b, "batch.ids": c}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any


def flattened(given: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The values by full name. What is wanted as it is, and what holds nothing wanted, is left alone."""
    if given.keys() <= set(wanted):
        return dict(given)
    found: dict[str, Any] = {}
    for name, value in given.items():
        inside = any(other.startswith(f"{name}.") for other in wanted)
        parts = _parts(value) if inside and name not in wanted else None
        if parts is None:
            found[name] = value
        else:
            found |= flattened({f"{name}.{key}": part for key, part in parts.items()}, wanted)
    return found


def _parts(value: Any) -> dict[str, Any] | None:
    """What a container holds, without what is None; None if it is no container."""
    if isinstance(value, Mapping):
        parts = {str(key): part for key, part in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = dict(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        parts = {str(index): part for index, part in enumerate(value)}
    else:
        return None
    return {key: part for key, part in parts.items() if part is not None}
