"""The registry of all converters, merged from the tables of all families."""

from __future__ import annotations

from importlib import import_module

from compiler.convert.refusals import STATED
from compiler.convert.registry import Registry

FAMILIES = """
    linalg.factor linalg.householder linalg.pinv linalg.singular
    ops.activation ops.attention ops.batch_norm ops.binary ops.bitwise ops.bucketize ops.casts
    ops.concat ops.convolution ops.creation ops.distance ops.einsum ops.embedding_bag ops.experts
    ops.extremes ops.fold ops.functions ops.group_norm ops.histogram ops.index ops.index_add
    ops.index_put ops.layer_norm ops.linear ops.logical ops.mode ops.movement ops.nonzero ops.norm
    ops.order ops.order_statistics ops.pad ops.pooling ops.power ops.ranges ops.recurrent ops.reduce
    ops.resize ops.sample ops.scan ops.scatter ops.segment ops.shape ops.sizes ops.slice_scatter
    ops.softmax ops.split ops.statistics ops.triangles ops.unary
    special.bessel special.error_function special.gamma special.polynomials
"""
"""Modules of this package that hold converters, each in its `TABLE`."""

REGISTRY = Registry(
    (import_module(f"compiler.convert.{family}").TABLE for family in FAMILIES.split()), STATED
)
