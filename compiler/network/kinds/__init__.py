"""The kinds of layers: one class each, by family. compiler/network/kind.py says what a kind is.

KINDS: every kind by name
Layers: the recorder of a network, with a method for each kind
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.network.kind import Kind
from compiler.network.kinds import (
    attention,
    elementwise,
    indexing,
    loop,
    plugin,
    products,
    reductions,
    sampling,
    shapes,
    slices,
    windows,
)

_FAMILIES = (
    elementwise, reductions, products, attention, windows, sampling, shapes, slices, indexing, loop,
    plugin,
)  # fmt: skip

KINDS: Mapping[str, type[Kind]] = {row.name: row for one in _FAMILIES for row in one.KINDS}


class Layers(
    elementwise.Pointwise, reductions.Reductions, products.Products, attention.Attentions,
    windows.Windows, sampling.Sampling, shapes.Shapes, slices.Slices, indexing.Indexing, loop.Loops,
    plugin.Plugins,
):  # fmt: skip
    """Records a network. Each method returns new tensors with their dtypes and sizes.

    NetworkError where TensorRT would refuse the layer.
    """
