"""TensorRT's plugins in this process: a service registers them itself, a bundle only names them.

"Name@version"    "Name@version@namespace"    a plugin that engines call
"namespace::name"                             an ahead-of-time plugin: engines hold its kernels
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def split(plugin: str) -> tuple[str, str, str]:
    """(name, version, namespace) of a plugin. The version is `1` and the namespace empty if left out."""
    if is_ahead_of_time(plugin):
        namespace, _, name = plugin.partition("::")
        return name, "1", namespace
    name, _, rest = plugin.partition("@")
    version, _, namespace = rest.partition("@")
    return name, version or "1", namespace


def is_ahead_of_time(plugin: str) -> bool:
    """Whether the plugin is compiled into the engine (`tensorrt.plugin.aot_impl`)."""
    return "::" in plugin


def registered(plugins: Iterable[str]) -> frozenset[str]:
    """Those of the plugins that TensorRT can use in this process.

    Imports TensorRT if any plugin is asked for; without it, none is registered.
    """
    wanted = tuple(plugins)
    if not wanted:
        return frozenset()
    try:
        import tensorrt
    except (ImportError, OSError):
        return frozenset()
    return frozenset(plugin for plugin in wanted if _known(tensorrt, plugin))


def _known(trt: Any, plugin: str) -> bool:
    name, version, namespace = split(plugin)
    if not is_ahead_of_time(plugin):
        return trt.get_plugin_registry().get_creator(name, version, namespace) is not None
    if not hasattr(trt, "IPluginV3QuickAOTBuild"):  # TensorRT 10.6
        return False
    import tensorrt.plugin  # where `tensorrt.plugin.register` puts them

    return hasattr(getattr(tensorrt.plugin.op, namespace, None), name)
