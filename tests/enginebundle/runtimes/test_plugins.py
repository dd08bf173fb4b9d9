"""TensorRT plugins by name. That registered ones are found is for `benchmarks/gpu_plugin.py` to show."""

from __future__ import annotations

import importlib.util

import pytest

from enginebundle.runtimes.plugins import registered, split


@pytest.mark.parametrize(
    ("plugin", "parts"),
    [
        ("Scan", ("Scan", "1", "")),
        ("Scan@2", ("Scan", "2", "")),
        ("Scan@2@mine", ("Scan", "2", "mine")),
        ("mine::scan", ("scan", "1", "mine")),
    ],
)
def test_a_plugin_s_name(plugin: str, parts: tuple[str, str, str]) -> None:
    assert split(plugin) == parts


def test_nothing_is_registered_where_tensorrt_is_not_installed() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed")
    assert registered(["Scan@2"]) == frozenset()
    assert registered([]) == frozenset()
