"""From a variant's segments to what runs them: blobs are verified, engines deserialized, weights placed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, parse_json
from enginebundle.format.graph import Graph
from enginebundle.format.variant import Segment, Variant
from enginebundle.runtimes.operators import Operators
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.usage import Memory

if TYPE_CHECKING:
    import torch

    Runner = Callable[[Mapping[str, torch.Tensor], str], dict[str, torch.Tensor]]


class Segments:
    """Opens the segments of one variant. Any number of threads may."""

    def __init__(
        self, bundle: Bundle, variant: Variant, operators: Operators, cuda_graphs: bool
    ) -> None:
        self._bundle = bundle
        self._variant = variant
        self._operators = operators
        self._cuda_graphs = cuda_graphs
        self._weights: dict[Digest, dict[str, torch.Tensor]] = {}
        self._lock = threading.Lock()
        self._asked = 0

    def close(self) -> None:
        """Let go of the weights."""
        with self._lock:
            self._weights.clear()
            self._asked = 0

    def memory(self, opened: Mapping[int, Sequence[Any]]) -> Memory:
        """What is held. `opened`: by the numbers of the parts that are open, who runs each of their segments."""
        sizes = dict(self._bundle.index.blobs)
        engines = contexts = 0
        for number, runners in list(opened.items()):
            for segment, runner in zip(self._variant.parts[number].segments, runners, strict=True):
                if segment.kind == "engine":
                    engines += sum(sizes[blob] for blob in segment.blobs)
                    contexts += runner.scratch_bytes
        with self._lock:
            held = sum(t.nbytes for known in self._weights.values() for t in known.values())
            return Memory(engines, held, self._asked - held, contexts)

    def open(self, segment: Segment) -> Runner:
        """Who runs it. Raises IntegrityError, NotFoundError or FormatError (its blobs), RuntimeFailure (an engine
        that TensorRT refuses)."""
        if segment.kind == "torch_graph":
            return self._open_graph(segment)
        if self._variant.target.backend == "rtx":
            from enginebundle.runtimes import tensorrt_rtx

            return tensorrt_rtx.open_engine(
                self._bundle.read(segment.blob), segment, self._cuda_graphs
            )
        if self._variant.target.backend == "trt":
            from enginebundle.runtimes import tensorrt

            weights: dict[str, torch.Tensor] = {}
            for digest in segment.blobs[1:]:
                # Not kept: an engine copies them to the GPU.
                weights |= self._bundle.read_tensors(digest)
            host_code = self._variant.version_compatible
            return tensorrt.open_engine(
                self._bundle.read(segment.blob), segment, weights, host_code, self._cuda_graphs
            )
        raise FormatError(
            f"variant {self._variant.target} holds an engine; only rtx and trt run engines"
        )

    def _open_graph(self, segment: Segment) -> Runner:
        from enginebundle.runtimes.torch_graph import TorchGraph

        device = "cpu" if self._variant.target.backend == "torch" else "cuda"
        data = self._bundle.read(segment.blob)
        try:
            graph = Graph.from_json(parse_json(data))
            names = {weight.name for weight in graph.weights}
            known = {op: f for op, f in self._operators.items() if op in segment.operators}
            weights = self._read_weights(segment.weights, names, device)
            run = TorchGraph(graph, weights, device, known)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"graph {segment.blob} is not JSON, or nested too deep") from error
        if (graph.inputs, graph.outputs) != (segment.inputs, segment.outputs):
            raise FormatError(f"graph {segment.blob} has other inputs or outputs than its segment")
        with self._lock:
            self._asked += sum(weights[name].nbytes for name in names)
        return lambda values, _: run(values)

    def _read_weights(
        self, digest: Digest | None, names: Set[str], device: str
    ) -> dict[str, torch.Tensor]:
        """These tensors of a safetensors blob, each moved once, however many parts share it.

        The blob may hold others, which only the variant's engines need.
        """
        if digest is None:
            return {}
        with self._lock:
            known = self._weights.setdefault(digest, {})
            if not names <= known.keys():
                tensors = self._bundle.read_tensors(digest)
                new = (names & tensors.keys()) - known.keys()
                known |= {name: tensors[name].to(device) for name in new}
        return known
