"""Kinds that multiply matrices: matmul, einsum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, Kind, Role, Value, accumulated_wide, method
from compiler.network.kinds.shapes import same_rank
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import FLOATS, Recorder, broadcast, expect


class MatMul(Kind):
    """IMatrixMultiplyLayer."""

    name = "matmul"

    @staticmethod
    def write(
        net: Recorder, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False
    ) -> Tensor:
        """IMatrixMultiplyLayer on [..., m, k] and [..., k, n] of one float dtype; batches broadcast."""
        expect(
            a.dtype == b.dtype and a.dtype in FLOATS,
            f"matmul of {a.dtype} and {b.dtype}: wants one float type",
        )
        expect(a.ndim >= 2 and b.ndim >= 2, f"matmul of ranks {a.ndim} and {b.ndim}")
        a, b = same_rank(net, a, b)
        m = a.shape[-1] if transpose_a else a.shape[-2]
        n = b.shape[-2] if transpose_b else b.shape[-1]
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), m, n)
        attributes = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        return net.record(MatMul, (a, b), attributes, [(a.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        def operation(transpose: bool) -> Any:
            return e.trt.MatrixOperation.TRANSPOSE if transpose else e.trt.MatrixOperation.NONE

        left, right = (e.tensor(t) for t in layer.inputs)
        return e.net.add_matrix_multiply(
            left, operation(a["transpose_a"]), right, operation(a["transpose_b"])
        )

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, left: Value, right: Value) -> Value:
        left = left.mT if a["transpose_a"] else left
        right = right.mT if a["transpose_b"] else right
        return left @ right


class Einsum(Kind):
    """IEinsumLayer."""

    name = "einsum"
    role = Role.REDUCTION

    @staticmethod
    def write(net: Recorder, inputs: Sequence[Tensor], equation: str) -> Tensor:
        """IEinsumLayer; explicit output, lower-case labels, no ellipsis."""
        known: dict[str, int | None] = {}
        terms, result = equation.split("->")
        for term, tensor in zip(terms.split(","), inputs, strict=True):
            for label, length in zip(term, tensor.shape, strict=True):
                known[label] = known.get(label) or length
        shape = tuple(known[label] for label in result)
        results = [(inputs[0].dtype, shape)]
        return net.record(Einsum, tuple(inputs), {"equation": equation}, results)[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_einsum([e.tensor(t) for t in layer.inputs], a["equation"])

    @staticmethod
    @accumulated_wide
    def evaluate(a: Attributes, *x: Value) -> Value:
        return torch.einsum(a["equation"], *x)


KINDS: tuple[type[Kind], ...] = (MatMul, Einsum)


class Products(Recorder):
    """These kinds as methods."""

    matmul = method(MatMul.write)
    einsum = method(Einsum.write)
