"""What TensorRT chose: the tactic of each layer of an engine, by the engine inspector.

An engine can be opened only on a GPU, so only where it was built for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def chosen(trt: Any, logger: Any, engine: Any) -> dict[str, str]:
    """Layer -> tactic, of serialized bytes built with detailed profiling verbosity.

    Layers are fused ones, named by the nodes in them. Empty if TensorRT does not open the engine or
    tells of it in another form: this is only noted, so it ends no build.
    """
    opened = trt.Runtime(logger).deserialize_cuda_engine(engine)
    if opened is None:
        return {}
    inspector = opened.create_engine_inspector()
    try:
        return read(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    except (ValueError, KeyError, TypeError):
        return {}


def read(information: str) -> dict[str, str]:
    """Layer -> tactic, of the inspector's JSON. A name that comes again gets a number."""
    found: dict[str, str] = {}
    for layer in json.loads(information)["Layers"]:
        if isinstance(layer, str):  # without detailed verbosity: names only
            layer = {"Name": layer}
        name, count = layer["Name"], 1
        while name in found:
            count += 1
            name = f"{layer['Name']} ({count})"
        found[name] = _tactic(layer)
    return found


def _tactic(layer: Mapping[str, Any]) -> str:
    """Kind, tactic's number and name, as far as the layer has them."""
    words = (layer.get(key) for key in ("LayerType", "TacticValue", "TacticName"))
    return " ".join(str(word) for word in words if word)


def changes(proved: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """The layers whose tactic differs, or that only one side has, each with both."""
    return tuple(
        f"{name}: {proved.get(name, 'absent')} -> {found.get(name, 'absent')}"
        for name in sorted(proved.keys() | found.keys())
        if proved.get(name) != found.get(name)
    )
