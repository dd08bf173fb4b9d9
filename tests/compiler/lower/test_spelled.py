"""Operators by names that no table knows: traced in plain operators, with the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile

aten, prims = torch.ops.aten, torch.ops.prims
X = torch.randn(3, 2, 5, 8)


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def broadcast(x):
    return x + prims.broadcast_in_dim(prims.sum(x, [3]), list(x.shape), [0, 1, 2])


CASES = {
    "efficient": (lambda x: aten._scaled_dot_product_efficient_attention(x, x, x * 2, None, False, scale=0.3)[0],
                  lambda x: scaled_dot_product_attention(x, x, x * 2, scale=0.3)),
    "efficient-bias": (lambda x: aten._scaled_dot_product_efficient_attention(x, x, x, x @ x.mT, False)[0],
                       lambda x: scaled_dot_product_attention(x, x, x, attn_mask=x @ x.mT)),
    "flash-causal": (lambda x: aten._scaled_dot_product_flash_attention(x, x, x, 0.0, True)[0],
                     lambda x: scaled_dot_product_attention(x, x, x, is_causal=True)),
    "cudnn": (lambda x: aten._scaled_dot_product_cudnn_attention(x, x, x, None, False)[0],
              lambda x: scaled_dot_product_attention(x, x, x)),
    "flash-for-cpu": (lambda x: aten._scaled_dot_product_flash_attention_for_cpu(x, x, x)[0],
                      lambda x: scaled_dot_product_attention(x, x, x)),
    "prims-arithmetic": (lambda x: prims.mul(prims.add(x, x), prims.neg(x)), lambda x: (x + x) * -x),
    "prims-types": (lambda x: prims.convert_element_type(prims.exp(x), torch.float16), lambda x: x.exp().half()),
    "prims-choice": (lambda x: prims.where(prims.gt(x, torch.zeros_like(x)), x, prims.sin(x)),
                     lambda x: torch.where(x > 0, x, x.sin())),
    "prims-shapes": (broadcast, lambda x: x + x.sum(-1, keepdim=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_made_of_operators_with_converters(name) -> None:
    function, plain = CASES[name]
    inputs = (TensorSpec("x", "float32", ("b", 2, 5, 8)),)
    exported = trace(Function(function), inputs, (profile(b=(1, 3, 6)),))
    program = capture(lower(exported, REGISTRY.ops()), inputs)
    assert all(node.op in REGISTRY.ops() for node in program.graph.nodes)
    (got,) = run(program, {"x": X}).values()
    torch.testing.assert_close(got, plain(X))
