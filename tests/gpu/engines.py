"""Small engines for the runtime's tests, built through the module's own API, for all architectures."""

from __future__ import annotations

from typing import Any

import numpy as np

ALL = ("SM75", "SM80", "SM86", "SM89", "SM120")
WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2) / 4 - 0.5
ROWS = {"short": (1, 2, 4), "long": (2, 8, 16)}
"""Profiles of `affine`: min, opt, max of the first dimension, in the engine's order."""


def affine(trt: Any) -> bytes:
    """y = relu(x @ WEIGHT) where mask, else 0; doubled = 2 * ids. Two optimization profiles."""
    builder, network = _network(trt)
    x = network.add_input("x", trt.float32, (-1, 3))
    mask = network.add_input("mask", trt.bool, (-1, 1))
    ids = network.add_input("ids", trt.int64, (-1,))
    constant = network.add_constant((3, 2), trt.Weights(WEIGHT)).get_output(0)
    none = trt.MatrixOperation.NONE
    product = network.add_matrix_multiply(x, none, constant, none).get_output(0)
    act = network.add_activation(product, trt.ActivationType.RELU).get_output(0)
    zero_data = np.zeros((1, 1), dtype=np.float32)
    zero = network.add_constant((1, 1), trt.Weights(zero_data)).get_output(0)
    _mark(network, network.add_select(mask, act, zero), "y")
    _mark(network, network.add_elementwise(ids, ids, trt.ElementWiseOperation.SUM), "doubled")
    config = _config(trt, builder)
    for low, best, high in ROWS.values():
        profile = builder.create_optimization_profile()
        for name, rest in (("x", (3,)), ("mask", (1,)), ("ids", ())):
            profile.set_shape(name, (low, *rest), (best, *rest), (high, *rest))
        config.add_optimization_profile(profile)
    return _build(builder, network, config)


def reshaped(trt: Any) -> bytes:
    """y = x in the shape that the int64 input `shape` (two numbers, on the host) gives."""
    builder, network = _network(trt)
    x = network.add_input("x", trt.float32, (-1,))
    shape = network.add_input("shape", trt.int64, (2,))
    shuffle = network.add_shuffle(x)
    shuffle.set_input(1, shape)
    _mark(network, network.add_identity(shuffle.get_output(0)), "y")
    config = _config(trt, builder)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1,), (12,), (64,))
    profile.set_shape_input("shape", (1, 1), (3, 4), (64, 64))
    config.add_optimization_profile(profile)
    return _build(builder, network, config)


def _network(trt: Any) -> tuple[Any, Any]:
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    return builder, builder.create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )


def _mark(network: Any, layer: Any, name: str) -> None:
    layer.get_output(0).name = name
    network.mark_output(layer.get_output(0))


def _config(trt: Any, builder: Any) -> Any:
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(ALL)
    for index, name in enumerate(ALL):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    return config


def _build(builder: Any, network: Any, config: Any) -> bytes:
    data = builder.build_serialized_network(network, config)
    assert data is not None, "the engine did not build"
    return bytes(data)
