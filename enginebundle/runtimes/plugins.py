"""TensorRT's plugins in this process: a service registers them itself, a bundle only names them.

"Name@version"    "Name@version@namespace"
"""

from __future__ import annotations

from collections.abc import Iterable


def split(plugin: str) -> tuple[str, str, str]:
    """(name, version, namespace) of a plugin. The version is `1` and the namespace empty if left out."""
    name, _, rest = plugin.partition("@")
    version, _, namespace = rest.partition("@")
    return name, version or "1", namespace


def registered(plugins: Iterable[str]) -> frozenset[str]:
    """Those of the plugins whose creators are registered with TensorRT in this process.

    Imports TensorRT if any plugin is asked for; without it, none is registered.
    """
    wanted = tuple(plugins)
    if not wanted:
        return frozenset()
    try:
        import tensorrt
    except (ImportError, OSError):
        return frozenset()
    registry = tensorrt.get_plugin_registry()
    return frozenset(p for p in wanted if registry.get_creator(*split(p)) is not None)
