"""Short sums are padded where TensorRT-RTX would unroll them, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from compiler.convert import short_sums
from compiler.convert.net import Net


@pytest.mark.parametrize(
    ("sizes", "axes", "long"),
    [((4, 3), [1], 8), ((4, 3, 1), [1, 2], 8), ((4, 8), [1], 8), ((4, 3), [0, 1], 3),
     ((None, 3), [1], 3), ((4, 1), [1], None)],
)  # fmt: skip
def test_only_short_sums_of_static_tensors_are_lengthened(
    sizes: tuple[int | None, ...], axes: list[int], long: int | None
) -> None:
    """The reductions that were wrong on a GPU never become reduction layers."""
    net = Net()
    x = net.input("x", torch.float32, sizes)
    y = net.reduce(x, "SUM", axes, True)
    layers = {layer.kind: layer for layer in net.finish({"y": y}, {}).layers}
    if long is None:
        assert "reduce" not in layers
    else:
        read = layers["reduce"].inputs[0]
        assert read is not None
        assert read.shape[1] == long
    assert short_sums.LENGTH == 8
