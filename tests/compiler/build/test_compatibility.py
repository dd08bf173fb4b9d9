"""Engines for more GPUs and versions: what the builder is told, and what it can't give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from compiler.build import tensorrt, tensorrt_rtx
from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.convert.net import Net
from compiler.network import emit
from compiler.network.network import Network
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Target, TensorSpec
from tests.contract.record import WHEELS, recorded
from tests.contract.strict import module

GRAPH = Graph((TensorSpec("x", "float32", (2, 3)),), (), (), (), ())
OPTIONS = EngineOptions((Profile("p", ()),))
LEVELS = {"exact": 0, "ampere_plus": 1, "same_compute_capability": 2}


def network() -> Network:
    net = Net()
    x = net.input("x", torch.float32, (2, 3))
    return net.finish({"y": net.unary(x, "EXP")}, {})


def told(version: str, options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The IBuilderConfig with which that version's builder would build; it builds nothing."""
    monkeypatch.setattr(emit, "_check", lambda layer, tensor, output, dtype: None)
    configs = []

    def build(builder: Any, definition: Any, config: Any) -> bytes:
        configs.append(config)
        return b"engine"

    flags: set[str] = set()
    behaviour = {
        "Builder.build_serialized_network": build,
        "IBuilderConfig.set_flag": lambda config, flag: flags.add(flag.name),
        "IBuilderConfig.hardware_compatibility_level": 0,
    }
    build_engine(module("tensorrt", recorded(version), behaviour), network(), GRAPH, options)
    (config,) = configs
    return int(config.hardware_compatibility_level), flags


@pytest.mark.parametrize("version", WHEELS)
@pytest.mark.parametrize("hardware", LEVELS)
def test_the_builder_is_told_the_level_or_it_is_refused(
    version: str, hardware: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, hardware=hardware)
    if (version, hardware) == ("10.6", "same_compute_capability"):
        with pytest.raises(BuildRefused, match="has no hardware compatibility SAME_COM") as caught:
            told(version, options, monkeypatch)
        assert caught.value.code == "compatibility"
        assert "install tensorrt 10.9 or later" in caught.value.remedy
    else:
        assert told(version, options, monkeypatch) == (LEVELS[hardware], set())


@pytest.mark.parametrize("version", WHEELS)
def test_version_compatible_engines_carry_their_runtime(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, version_compatible=True)
    assert told(version, options, monkeypatch) == (0, {"VERSION_COMPATIBLE"})


def test_a_lean_runtime_that_is_missing_refuses_the_build_and_blames_no_node() -> None:
    """For real: the wheel of TensorRT-RTX has none."""
    trt = tensorrt_rtx.module()
    options = replace(OPTIONS, capabilities=("sm_89",))
    assert build_engine(trt, network(), GRAPH, options)
    with pytest.raises(BuildRefused, match=r"finds none: .*libnvinfer_lean\.so") as caught:
        build_engine(trt, network(), GRAPH, replace(options, version_compatible=True))
    assert (caught.value.code, caught.value.node) == ("compatibility", "")
    assert "leave out version_compatible" in caught.value.remedy


@pytest.mark.parametrize(
    ("target", "gpu", "refused"),
    [
        ("trt:sm_90", (9, 0), ""),
        ("trt:sm_90_any", (9, 0), ""),
        ("trt:ampere_plus", (9, 0), ""),
        ("trt:ampere_plus", (7, 5), "trt:ampere_plus builds on sm_80 or "),
        ("trt:sm_90_any", (8, 0), "trt:sm_90_any builds on sm_90; this machine's is sm_80"),
        ("trt:ampere_plus", None, "this machine has none"),
        ("trt:sm_80+sm_90", (9, 0), "a trt target names one architecture"),
    ],
)
def test_which_gpus_build_what(
    target: str, gpu: tuple[int, int] | None, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    if not refused:
        tensorrt.check_gpu(Target.parse(target))
        return
    with pytest.raises(BuildRefused, match=refused):
        tensorrt.check_gpu(Target.parse(target))
