"""torch.compile(backend="kiln"): what no converter knows runs in torch alone, the rest in engines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import compiler.dynamo  # noqa: F401  registers the backend
from compiler.dynamo import KilnWarning, kiln


@torch.library.custom_op("kilndynamo::scale", mutates_args=())
def scale(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor + x.mean()


@scale.register_fake
def _(x: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.empty_like(x)


LIBRARY = torch.library.Library("kilnvision", "DEF")
LIBRARY.define("widths(Tensor boxes) -> (Tensor, Tensor)")
LIBRARY.impl(
    "widths", lambda boxes: (boxes[:, 1] - boxes[:, 0], boxes.sum(1)), "CompositeExplicitAutograd"
)


@torch.library.register_fake("kilnvision::widths")
def _(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return boxes.new_empty(boxes.shape[0]), boxes.new_empty(boxes.shape[0])


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def between(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.between(self.one(x).relu())).relu()


class Custom(Layers):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.kilndynamo.scale(x, 2.0)


class Vision(Layers):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        widths, sums = torch.ops.kilnvision.widths(x)
        return x + widths[:, None] * sums[:, None]


class Noise(Layers):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x) * torch.randn(8)


class Chooses(Layers):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 5, lambda x: x * 2, lambda x: x - 1, (x,))


def compiled(model: nn.Module, *inputs: torch.Tensor) -> tuple[list[Any], list[str]]:
    """Compile and call with each input twice, hold it against eager torch; segments and warnings."""
    made = []

    def backend(graph: Any, examples: Any) -> Any:
        made.append(kiln(graph, examples, options={"simulate": True, "min_nodes": 1}))
        return made[-1]

    called = torch.compile(model.eval(), backend=backend)
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        for x in (*inputs, *inputs):
            torch.manual_seed(3)
            got = called(x)
            torch.manual_seed(3)
            torch.testing.assert_close(got, model(x))
    (one,) = made
    (runner,) = [each.runner for each in one._made.values()]
    return runner.report.segments, [str(w.message) for w in caught if w.category is KilnWarning]


@pytest.mark.parametrize(
    ("make", "op"),
    [
        (Custom, "kilndynamo.scale.default"), (Vision, "kilnvision.widths.default"),
        (Noise, "aten.rand_like.default"), (Chooses, "higher_order.cond"),
    ],
)  # fmt: skip
def test_only_that_node_runs_in_torch(make: type[Layers], op: str) -> None:
    segments, said = compiled(make(), torch.randn(4, 8), torch.ones(4, 8) * 9)
    kinds = [segment.kind for segment in segments]
    assert kinds.count("engine") == 2, kinds
    assert sum(s.nodes for s in segments if s.kind != "engine") <= 2
    (message,) = said
    assert op in message
    assert "test_own_operators.py" in message
    assert "everything" not in message


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_fused_encoder_layer_is_all_engine(norm_first, activation, masked) -> None:
    layer = nn.TransformerEncoderLayer(
        16, 4, 32, activation=activation, batch_first=True, norm_first=norm_first
    )
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)

    class Encodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer
            self.register_buffer("mask", mask if masked else None)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, src_mask=self.mask)

    segments, said = compiled(Encodes(), torch.randn(2, 5, 16))
    assert [segment.kind for segment in segments] == ["engine"]
    assert said == []
