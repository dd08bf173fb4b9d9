"""Random numbers in a program: no golden can check what they decide, so no bundle holds them."""

from __future__ import annotations

from collections.abc import Collection

import torch

from compiler.goldens.inputs import GoldensRefused
from enginebundle.format.graph import Graph, Node
from enginebundle.format.node import every
from enginebundle.runtimes.operators import function_of
from enginebundle.runtimes.torch_ops import ALLOWED


def refuse_random(graph: Graph, converted: Collection[str]) -> None:
    """GoldensRefused names the first call that draws random numbers, in branches and loops too.

    Operators that are `converted` are left alone: a converter of the user's may write something else.
    """
    known = ALLOWED.union(converted)
    for node in every(graph.nodes):
        if _drops(node) or (node.op not in known and _draws(node.op)):
            raise GoldensRefused(
                "random",
                f"{node.op} at {node.origin} draws random numbers, so no golden can check the model",
                "draw the numbers outside the model and pass them as an input",
            )


def _drops(node: Node) -> bool:
    """Whether it is a dropout in training mode: a bundle may call the operator, but not so."""
    return node.op in ("aten.dropout.default", "aten.native_dropout.default") and bool(node.args[2])


def _draws(op: str) -> bool:
    function = function_of(op)
    tags = getattr(function, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags
