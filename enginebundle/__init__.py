"""Load and run signed bundles of TensorRT engines and torch graphs.

    import enginebundle

    embed = enginebundle.load("./store/minilm:latest")
    outputs = embed(input_ids=ids, attention_mask=mask)     # names in, names out
    print(embed.selection)                                  # the variant chosen, and why not the others

Importing this package imports only the standard library. torch and the TensorRT modules are imported
when a bundle first needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from enginebundle.errors import BundleError

if TYPE_CHECKING:
    from enginebundle.serve.loader import load as load
    from enginebundle.serve.session import Session as Session
    from enginebundle.storage.store import Store as Store
    from enginebundle.storage.trust import Trust as Trust

__all__ = ["BundleError", "Session", "Store", "Trust", "load"]

_MODULES = {
    "load": "serve.loader",
    "Session": "serve.session",
    "Store": "storage.store",
    "Trust": "storage.trust",
}
"""The module of each exported name except BundleError, imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
