"""What reads memory by stride means the same after lowering, whatever layout tracing saw."""

from __future__ import annotations

import pytest
import torch

from compiler.convert.library import REGISTRY
from compiler.lower import lower
from tests.compiler.convert.whole import Call, check

CALLS = {
    "offset": Call(lambda x: x.as_strided((3, 2), (5, 2), 3), lambda n: (torch.randn(n, 6, 5),)),
    "overlap": Call(lambda x: x.as_strided((4, 3), (1, 2)), lambda n: (torch.randn(n, 9),)),
    "no dims": Call(lambda x: x.as_strided((), (), 4), lambda n: (torch.randn(n, 9),)),
    "permuted": Call(
        lambda x: (x.permute(2, 0, 1) * 2).as_strided((3, x.shape[0]), (x.shape[1], 2), x.shape[1]),
        lambda n: (torch.randn(n, 6, 5),),
    ),
    "view": Call(
        lambda x: x[1:, ::2].as_strided((3, x.shape[0]), (5, x.shape[1])),
        lambda n: (torch.randn(n, 3 * n, 5),),
    ),
    "split": Call(
        lambda x: (x * 2).split(2, 1)[1].as_strided((3, 2), (5, 2)), lambda n: (torch.randn(n, 4, 5),)
    ),
    "copying reshape": Call(
        lambda x: x.permute(2, 0, 1).reshape(5, -1)[1:].as_strided((2, 2), (3, 2)),
        lambda n: (torch.randn(n, 6, 5),),
    ),
    "expanded": Call(
        lambda x: x[0, :1].expand(4).as_strided((3, 2), (5, 2)), lambda n: (torch.randn(n, 9),)
    ),
    "channels last": Call(
        lambda x: (x.to(memory_format=torch.channels_last) * 2).as_strided((2, 3), (1, 4)),
        lambda n: (torch.randn(n, 3, 4, 4),),
    ),
    "copy": Call(
        lambda x: torch.as_strided_copy(x * 2, (3, 2), (5, 2), 3), lambda n: (torch.randn(n, 6, 5),)
    ),
    "scatter": Call(
        lambda x, y: torch.as_strided_scatter(x, y, (3, 2), (5, 2), 3),
        lambda n: (torch.randn(n, 6, 5), torch.randn(3, 2)),
    ),
    "scatter permuted": Call(
        lambda x, y: torch.as_strided_scatter(x.permute(2, 0, 1) * 2, y, (3, 2), (x.shape[1], 2)),
        lambda n: (torch.randn(n, 6, 5), torch.randn(3, 2)),
    ),
    "strides": Call(
        lambda x: x + x.mT.contiguous().mT.stride(2) + x.transpose(0, 1).stride(2) + x.stride(0),
        lambda n: (torch.randn(n, 3 * n, 5),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_against_eager(name: str) -> None:
    program = check(CALLS[name], build=name == "permuted")
    assert not {n.op for n in program.graph.nodes} & {
        "aten.as_strided.default",
        "aten.as_strided_copy.default",
        "aten.as_strided_scatter.default",
        "aten.sym_stride.int",
    }


def test_resized_memory() -> None:
    """Fewer elements than before: the first ones in memory. torch exports it for fixed sizes only."""

    class Resized(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.permute(1, 0).clone().resize_as_(y)

    x, y = torch.randn(4, 5), torch.randn(3, 2)
    low = lower(torch.export.export(Resized(), (x, y)), REGISTRY.ops())
    assert torch.ops.aten.resize.default not in {n.target for n in low.graph.nodes}
    torch.testing.assert_close(low.module()(x, y), Resized()(x, y))
