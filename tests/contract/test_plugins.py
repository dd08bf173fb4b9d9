"""Plugins against the bindings of TensorRT 11.4, whose libraries can't be installed here.

manifests/plugin_gated.py is imported and its classes are made, beside stub libraries. What TensorRT
does with a plugin is for benchmarks/gpu_plugin.py to show.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import bindings
from tests.contract.usage import ROOT

PROGRAM = """
import importlib, json, sys, numpy, tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
sys.modules["tensorrt.plugin"] = trt.plugin = importlib.import_module("tensorrt_bindings.plugin")
sys.path.insert(0, "manifests")
import plugin_gated
from enginebundle.runtimes.plugins import registered
fields = [trt.PluginField("scale", numpy.array([1.5]), trt.PluginFieldType.FLOAT64)]
creator = plugin_gated.Creator()
made = creator.create_plugin("x", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD)
desc = trt.DynamicPluginTensorDesc()
desc.desc.type, desc.desc.format = trt.float32, trt.TensorFormat.LINEAR
asked = {
    method
    for base in plugin_gated.Gated.__bases__
    for method in vars(base)
    if not method.startswith("_") and callable(getattr(base, method))
}

@trt.plugin.register("mine::twice", lazy_register=True)
def twice(x: trt.plugin.TensorDesc) -> trt.plugin.TensorDesc:
    return x.like()

print(json.dumps({
    "scales": [made.scale, made.clone().scale],
    "name": [creator.name, creator.plugin_version, made.plugin_name],
    "outputs": [made.num_outputs, len(made.get_output_data_types([trt.float32, trt.float32]))],
    "takes": made.supports_format_combination(0, [desc], 2),
    "left": sorted(asked - set(vars(plugin_gated.Gated))),
    "add_plugin": trt.INetworkDefinition.add_plugin.__doc__,
    "known": sorted(registered(["mine::twice", "mine::thrice", "other::twice"])),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    if bindings.compiler() is None or importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("needs gcc and pip install --no-deps tensorrt-cu13-bindings==11.4.0.106")
    folder = tmp_path_factory.mktemp("stubs")
    bindings.stubs(folder, 11)
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(folder), "LD_BIND_NOW": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(ROOT), env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_example_s_classes_are_plugins_of_version_3(told: dict[str, object]) -> None:
    assert told["scales"] == [1.5, 1.5]
    assert told["name"] == ["Gated", "1", "Gated"]
    assert (told["outputs"], told["takes"]) == ([1, 1], True)


def test_it_leaves_to_tensorrt_only_what_has_a_default(told: dict[str, object]) -> None:
    assert told["left"] == ["destroy", "get_valid_tactics", "get_workspace_size"]


def test_an_ahead_of_time_plugin_is_added_with_a_flag_and_found_by_its_name(
    told: dict[str, object],
) -> None:
    assert "aot: bool" in str(told["add_plugin"])
    assert told["known"] == ["mine::twice"]
