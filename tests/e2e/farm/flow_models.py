"""Models whose data decide what runs: a branch with a branch inside, a loop, and a scan."""

from __future__ import annotations

import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.expert = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        def yes(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            near = torch.cond(h.mean() > 0.5, lambda h: h.exp(), lambda h: h.sin(), (h,))
            return self.expert(near), h + torch.tensor([1.0, 2.0, 3.0, 4.0])

        def no(h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return h * 2, h - 1

        one, two = torch.cond(x.sum() > 0, yes, no, (self.before(x),))
        return {"one": one.relu(), "two": two.relu()}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        def step(h: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = torch.tanh(self.linear(h) + row)
            return h, h * 2

        def go(count: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return (count < 4) & (h.abs().sum() > 0.1)

        def halve(count: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return count + 1, h * 0.25

        last, rows = scan(step, torch.zeros_like(x[:, 0]), x, dim=1)
        count, small = while_loop(go, halve, (torch.tensor(0), last.relu()))
        return {"rows": rows.relu(), "small": small, "count": count}


@torch.library.custom_op("kilntest::scale", mutates_args=())
def scale(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x * factor + x.mean()


@scale.register_fake
def _(x: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.empty_like(x)


class Scaled(nn.Module):
    """Calls an operator that no bundle may call unasked, once in a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        made = torch.ops.kilntest.scale(self.before(x).relu(), 2.0)
        made = torch.cond(
            x.sum() > 0, lambda h: torch.ops.kilntest.scale(h, 0.5), lambda h: h - 1, (made,)
        )
        return {"y": self.after(made)}


@torch.library.custom_op("kilntest::tally", mutates_args=("total",))
def tally(total: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    total.add_(x)
    return total.mean(1)


@tally.register_fake
def _(total: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0])


class Written(nn.Module):
    """Writes into its input, itself and by an operator that does so."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        made = self.before(x).relu()
        x[:, 0] = 3
        mean = torch.ops.kilntest.tally(x, made)
        return {"y": self.after(x) * mean[:, None]}


def register() -> None:
    """Nothing to do: the operator is there once this module is."""


def scaled() -> nn.Module:
    torch.manual_seed(0)
    return Scaled()


def gated() -> nn.Module:
    torch.manual_seed(0)
    return Gated()


def recurrent() -> nn.Module:
    torch.manual_seed(0)
    return Recurrent()


def written() -> nn.Module:
    torch.manual_seed(0)
    return Written()
