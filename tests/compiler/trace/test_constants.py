"""Numbers that forward reads from its own weights are part of the program."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from compiler.trace.export import TraceRefused, trace
from enginebundle.format.spec import Profile, Range, TensorSpec

INPUTS = (TensorSpec("x", "float32", ("b", 8)),)
PROFILES = (Profile("p", (("b", Range(1, 4, 8)),)),)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("k", torch.tensor(3))
        self.register_buffer("grid", torch.tensor([[2, 4], [6, 1]]))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.scale = nn.Parameter(torch.tensor(0.5))


class Slice(Base):
    def forward(self, x):
        return x[:, : int(self.k)]


class Index(Base):
    def forward(self, x):
        return x[:, : self.k] + torch.ones(self.k)


class Lists(Base):
    def forward(self, x):
        height, width = self.grid[0].tolist()
        return x.reshape(-1, width, height)


class Split(Base):
    def forward(self, x):
        one, two = x.split((8 - self.grid[1].flip(0) - torch.tensor([3, -2])).tolist(), 1)
        return one * 2, two


class Item(Base):
    def forward(self, x):
        for n in range(self.grid.max().item()):
            x = x + n
        return x * float(self.scale.exp())


class Branch(Base):
    def forward(self, x):
        return x * 2 if self.flags.any() and not self.flags.all() else x


class Asserts(Base):
    def forward(self, x):
        assert (x < 100).all()
        return x * 2 if (self.grid > 5).any() else x


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Slice()
        self.tied = self.inner

    def forward(self, x):
        return self.tied(x) + 1


class Reassigned(Base):
    def forward(self, x):
        k = self.k
        k = k + 1
        return x[:, : int(k)]


ALL = (Slice, Index, Lists, Split, Item, Branch, Asserts, Inner, Reassigned)


@pytest.mark.parametrize("kind", ALL)
def test_a_number_from_a_weight_is_a_constant(kind: type[nn.Module]) -> None:
    model = kind().eval()
    program = trace(model, INPUTS, PROFILES).module()
    for size in (1, 4, 7):
        x = torch.randn(size, 8)
        torch.testing.assert_close(program(x=x), model(x))


class Counts(Base):
    def forward(self, x):
        self.k.add_(1)
        return x[:, : int(self.k)]


class CountsInView(Base):
    def forward(self, x):
        self.grid[0].add_(1)
        return x[:, : int(self.grid[0, 1])]


class Input(Base):
    def forward(self, x):
        return x[:, : int((self.k + x.sum()).clamp(1, 3))]


class Random(Base):
    def forward(self, x):
        return x[:, : int(torch.randint_like(self.k, 1, 4))]


class Size(Base):
    def forward(self, x):
        return x[:, : int((self.k + x.shape[0]).clamp(1, 3))]


@pytest.mark.parametrize("kind", [Counts, CountsInView, Input, Random, Size])
def test_a_number_that_may_change_is_not(kind: type[nn.Module]) -> None:
    with pytest.raises(TraceRefused) as refused:
        trace(kind().eval(), INPUTS, PROFILES)
    assert refused.value.code == "data_dependent"


def test_nothing_stays_behind() -> None:
    model = Slice().eval()
    trace(model, INPUTS, PROFILES)
    assert ProxyTorchDispatchMode.__torch_dispatch__.__module__ == ProxyTorchDispatchMode.__module__
    assert not model._forward_pre_hooks
