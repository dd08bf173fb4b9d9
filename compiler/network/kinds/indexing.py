"""Kinds that read and write by index: gather, scatter."""

from __future__ import annotations

from typing import Any

import torch

from compiler.network.emit import Emitter
from compiler.network.kind import Attributes, EvaluationError, Kind, Role, Value, method
from compiler.network.network import Layer, Tensor
from compiler.network.recorder import MAX_RANK, Recorder, expect


class Gather(Kind):
    """IGatherLayer, DEFAULT."""

    name = "gather"
    role = Role.MOVE

    @staticmethod
    def write(net: Recorder, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """IGatherLayer DEFAULT: indices (int32 or int64, non-negative) replace dimension `axis`."""
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        expect(
            len(shape) <= MAX_RANK, f"gather gives rank {len(shape)}: TensorRT allows {MAX_RANK}"
        )
        return net.record(Gather, (x, indices), {"axis": axis}, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_gather_v2(*_tensors(e, layer), e.trt.GatherMode.DEFAULT)
        added.axis = a["axis"]
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value, indices: Value) -> list[Value]:
        axis = a["axis"]
        if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= x.shape[axis]):
            raise EvaluationError(f"gather: index outside 0..{x.shape[axis] - 1}")
        flat = x.index_select(axis, indices.reshape(-1).long())
        return [flat.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))]


class GatherElements(Kind):
    """IGatherLayer, ELEMENT."""

    name = "gather_elements"

    @staticmethod
    def write(net: Recorder, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """IGatherLayer ELEMENT: torch.gather with equal ranks; result has the shape of indices."""
        return net.record(GatherElements, (x, indices), {"axis": axis}, [(x.dtype, indices.shape)])[
            0
        ]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_gather_v2(*_tensors(e, layer), e.trt.GatherMode.ELEMENT)
        added.axis = a["axis"]
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value, indices: Value) -> list[Value]:
        return [torch.gather(x, a["axis"], indices.long())]


class GatherND(Kind):
    """IGatherLayer, ND."""

    name = "gather_nd"

    @staticmethod
    def write(net: Recorder, x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
        """IGatherLayer ND: the last dim of indices indexes x's dims after the batch dims."""
        depth = indices.shape[-1]
        expect(depth is not None, "gather_nd: the last dimension of indices must be static")
        shape = (*indices.shape[:-1], *x.shape[batch_dims + (depth or 0) :])
        attributes = {"batch_dims": batch_dims}
        return net.record(GatherND, (x, indices), attributes, [(x.dtype, shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_gather_v2(*_tensors(e, layer), e.trt.GatherMode.ND)
        added.num_elementwise_dims = a["batch_dims"]
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value, indices: Value) -> list[Value]:
        lead = [
            torch.arange(n).reshape([-1 if j == i else 1 for j in range(indices.ndim - 1)])
            for i, n in enumerate(x.shape[: a["batch_dims"]])
        ]
        return [x[(*lead, *indices.unbind(-1))]]


class ScatterElements(Kind):
    """IScatterLayer, ELEMENT."""

    name = "scatter_elements"

    @staticmethod
    def write(net: Recorder, x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
        """IScatterLayer ELEMENT: x with updates written at indices along `axis`."""
        inputs = (x, indices, updates)
        return net.record(ScatterElements, inputs, {"axis": axis}, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        added = e.net.add_scatter(*_tensors(e, layer), e.trt.ScatterMode.ELEMENT)
        added.axis = a["axis"]
        return added

    @staticmethod
    def evaluate(a: Attributes, x: Value, indices: Value, updates: Value) -> list[Value]:
        return [torch.scatter(x, a["axis"], indices.long(), updates)]


class ScatterND(Kind):
    """IScatterLayer, ND."""

    name = "scatter_nd"

    @staticmethod
    def write(net: Recorder, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        """IScatterLayer ND: x with updates written at the index tuples in indices' last dim."""
        return net.record(ScatterND, (x, indices, updates), {}, [(x.dtype, x.shape)])[0]

    @staticmethod
    def emit(e: Emitter, layer: Layer, a: Attributes) -> Any:
        return e.net.add_scatter(*_tensors(e, layer), e.trt.ScatterMode.ND)

    @staticmethod
    def evaluate(a: Attributes, x: Value, indices: Value, updates: Value) -> list[Value]:
        result = x.clone()
        result[tuple(indices.unbind(-1))] = updates
        return [result]


def _tensors(e: Emitter, layer: Layer) -> list[Any]:
    return [e.tensor(t) for t in layer.inputs]


KINDS: tuple[type[Kind], ...] = (Gather, GatherElements, GatherND, ScatterElements, ScatterND)


class Indexing(Recorder):
    """These kinds as methods."""

    gather = method(Gather.write)
    gather_elements = method(GatherElements.write)
    gather_nd = method(GatherND.write)
    scatter_elements = method(ScatterElements.write)
    scatter_nd = method(ScatterND.write)
