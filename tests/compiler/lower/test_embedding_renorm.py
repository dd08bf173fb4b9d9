"""Embeddings with max_norm of a table that is an input: its rows that are read come out shortened, as in eager."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from compiler.convert.interpret import convert
from compiler.convert.library import REGISTRY
from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.network.evaluate import evaluate
from compiler.program import run
from compiler.trace.export import trace
from enginebundle.format.spec import TensorSpec
from tests.compiler.small_models import profile
from tests.opinfo.judge import refusals

IDS = torch.tensor([[1, 5, 1], [0, 5, 2]])
"""Some rows twice, some not at all."""


class Looks(torch.nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids, table, **self.options)


class Bags(Looks):
    def forward(self, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding_bag(ids, table, **self.options)


CASES = {
    "by 2": Looks(max_norm=1.0),
    "by 1": Looks(max_norm=0.5, norm_type=1.0),
    "by the largest": Looks(max_norm=0.7, norm_type=math.inf),
    "by 3, with a row of padding": Looks(max_norm=0.3, norm_type=3.0, padding_idx=1),
    "all short enough": Looks(max_norm=99.0),
    "bags": Bags(max_norm=1.0),
    "bags of sums": Bags(max_norm=0.5, norm_type=1.0, mode="sum"),
}


def program(model: torch.nn.Module, rows: int | str, batch: int | str) -> Any:
    inputs = (TensorSpec("table", "float32", (rows, 4)), TensorSpec("ids", "int64", (batch, 3)))
    ranges = {n: (2, 6, 9) for n in ("rows", "b") if n in (rows, batch)}
    exported = trace(model, inputs, (profile(**ranges),))
    return capture(lower(exported, REGISTRY.ops()), inputs)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [6, "rows"])
def test_rows_that_are_read_are_shortened(name: str, rows: int | str) -> None:
    model = CASES[name]
    made = program(model, rows, 2 if rows == 6 else "b")
    assert not any("renorm" in node.op for node in made.graph.nodes)
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 2
    written = table.clone()
    want = model(written, IDS)
    assert torch.equal(written[3:5], table[3:5])  # what nobody reads stays
    assert torch.equal(written, table) == (name == "all short enough")
    assert refusals(made.graph) == []
    feeds = {"table": table, "ids": IDS}
    network = convert(made.graph, made.weights, REGISTRY)
    for got in (run(made, feeds), evaluate(network, feeds)):
        torch.testing.assert_close(got["output"], want)
        torch.testing.assert_close(got["table_after"], written)


def test_of_a_table_without_rows_nothing_is_read() -> None:
    inputs = (TensorSpec("table", "float32", (0, 4)), TensorSpec("ids", "int64", (0, 3)))
    exported = trace(Looks(max_norm=1.0), inputs, (profile(),))
    made = capture(lower(exported, REGISTRY.ops()), inputs)
    assert refusals(made.graph) == []
    feeds = {"table": torch.ones(0, 4), "ids": torch.ones(0, 3, dtype=torch.int64)}
    for got in (run(made, feeds), evaluate(convert(made.graph, made.weights, REGISTRY), feeds)):
        assert got["output"].shape == (0, 3, 4)
