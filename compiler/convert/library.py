"""Every family of converters, merged into the one registry."""

from __future__ import annotations

from compiler.convert.ops import (
    activation,
    attention,
    binary,
    casts,
    convolution,
    creation,
    distance,
    einsum,
    embedding_bag,
    fold,
    functions,
    index,
    index_put,
    linear,
    logical,
    movement,
    nonzero,
    normalize,
    order,
    pad,
    pooling,
    recurrent,
    reduce,
    resize,
    sample,
    scan,
    scatter,
    shape,
    sizes,
    split,
    unary,
)
from compiler.convert.refusals import STATED
from compiler.convert.registry import Registry

REGISTRY = Registry(
    (
        family.TABLE
        for family in (
            activation,
            attention,
            binary,
            casts,
            convolution,
            creation,
            distance,
            einsum,
            embedding_bag,
            fold,
            functions,
            index,
            index_put,
            linear,
            logical,
            movement,
            nonzero,
            normalize,
            order,
            pad,
            pooling,
            recurrent,
            reduce,
            resize,
            sample,
            scan,
            scatter,
            shape,
            sizes,
            split,
            unary,
        )
    ),
    STATED,
)
