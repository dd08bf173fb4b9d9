"""Models that no bundle can hold: each has its reason, its line and a remedy, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.goldens.goldens import GoldenSource
from compiler.pipeline import TraceRequest, trace_model
from compiler.refused import Refused
from compiler.trace.source import Source
from enginebundle.format.spec import TensorSpec
from orchestrator.manifest.load import load
from orchestrator.plan.deep import deep_plan
from tests.compiler.small_models import profile

MODELS = '''
import torch
from torch import nn


class Plain(nn.Module):
    def forward(self, x):
        return x.relu() * 2


class Holds(nn.Module):
    """A scripted module inside."""

    def __init__(self):
        super().__init__()
        self.inner = torch.jit.script(Plain())

    def forward(self, x):
        return self.inner(x) + 1


class Keeps(nn.Module):
    """Adds to a buffer and reads it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        self.seen += x.sum(0)  # here
        return x + self.seen


class Remembers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(3, 4))

    def forward(self, x):
        made = x.mean() + self.last.sum()
        self.last.copy_(x[:3].sum() + torch.zeros(3, 4))  # here
        return made * x


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)  # here


class Drops(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, training=True)  # here


class Chooses(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x + torch.randn(4), lambda x: x - 1, (x,))  # here


def scripted():
    return torch.jit.script(Plain())


def traced():
    return torch.jit.trace(Plain(), torch.ones(2, 4))


def builtin():
    model = Plain()
    model.forward = torch.relu
    return model


plain, holds, keeps, remembers, noisy, drops, chooses = Plain, Holds, Keeps, Remembers, Noisy, Drops, Chooses
'''
CASES = {
    "scripted": ("torchscript", "return the nn.Module that it was scripted or traced from"),
    "traced": ("torchscript", "TopLevelTracedModule"),
    "holds": ("torchscript", "in its module 'inner'"),
    "builtin": ("inputs", "no signature that Python can read"),
    "keeps": ("mutation", "forward changes 'seen' in place at"),
    "remembers": ("mutation", "forward changes 'last' in place at"),
    "noisy": ("random", "aten.rand_like.default at"),
    "drops": ("random", "draws random numbers"),
    "chooses": ("random", "aten.randn.default at"),
}
MANIFEST = """
  - name: {name}
    source: {{ entrypoint: "{module}:{name}" }}
    inputs: {{ x: {{ dtype: float32, shape: [b, 4] }} }}
    profiles: {{ batch: {{ b: [3, 4, 6] }} }}
    goldens: {{ seed: 1 }}
    targets: ["torch:cpu"]
"""


@pytest.mark.parametrize("name", CASES)
def test_run_and_plan_give_one_reason(name: str, tmp_path: Path) -> None:
    module = f"refused_{name}"
    (tmp_path / f"{module}.py").write_text(MODELS)
    path = (str(tmp_path),)
    inputs, sizes = (TensorSpec("x", "float32", ("b", 4)),), profile("batch", b=(3, 4, 6))
    source = Source(entrypoint=f"{module}:{name}", search_path=path)
    code, words = CASES[name]
    with pytest.raises(Refused) as refused:
        trace_model(TraceRequest(source, inputs, (sizes,), GoldenSource(seed=1)))
    assert refused.value.code == code
    assert words in str(refused.value)
    assert refused.value.remedy
    if code in ("mutation", "random"):
        lines = [n for n, line in enumerate(MODELS.splitlines(), 1) if "# here" in line]
        assert any(f"{module}.py:{line}" in str(refused.value) for line in lines)
    manifest = tmp_path / "manifest.yaml"
    entries = (MANIFEST.format(name=one, module=module) for one in (name, "plain"))
    manifest.write_text("models:" + "".join(entries))
    mine, other = deep_plan(load(manifest))
    assert mine.refused == str(refused.value)
    assert not other.refused, other.refused
