"""A loaded variant: named tensors in, named tensors out.

The shapes of a call choose its profile; the part that serves that profile runs its segments in
order. A part is opened on its first use, and each of its blobs is verified just before.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import FormatError, RuntimeFailure
from enginebundle.format.digest import Digest, parse_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.format.variant import Part, Segment, Variant
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.dispatch import Intake, bind, by_name, choose, expected, hold
from enginebundle.serve.goldens import replay
from enginebundle.serve.nested import flattened
from enginebundle.serve.selection import Choice
from enginebundle.storage.bundles import Version

if TYPE_CHECKING:
    import torch

    Runner = Callable[[Mapping[str, torch.Tensor], str], dict[str, torch.Tensor]]


_WAYS = 64
"""Sizes of inputs for which a way is kept."""
_CALLS_UNTIL_WARM = 3
"""With the same sizes: the first makes contexts, the second captures a graph, the third replays it."""


@dataclass(frozen=True)
class _Way:
    """What calls with inputs of the same sizes share: who runs, what is returned, and what that has to be.

    `returns`: an output's name and the value that it is. `expected`: its name, dtype and size.
    """

    profile: str
    runners: tuple[Runner, ...]
    returns: tuple[tuple[str, str], ...]
    expected: tuple[tuple[str, Any, tuple[int, ...] | None], ...]
    symbols: Mapping[str, int]


class Session:
    """One variant of a bundle, ready to be called. Any number of threads may call it."""

    def __init__(
        self, bundle: Bundle, variant: Variant, selection: Sequence[Choice] = (),
        operators: Operators = NONE, cuda_graphs: bool = False,
    ) -> None:  # fmt: skip
        """`selection`: the loader's decision about each variant, the chosen one first. `operators`: what
        torch graphs may call besides the reviewed ones, if the index says that they do. `cuda_graphs`: as
        for `load`."""
        self.bundle = bundle
        self.variant = variant
        self.selection = tuple(selection)
        self._operators = operators
        self._cuda_graphs = cuda_graphs
        served = {name for part in variant.parts for name in part.profiles}
        self.profiles: tuple[Profile, ...] = tuple(
            profile for profile in bundle.index.profiles if profile.name in served
        )
        self._intake = Intake(bundle.index.inputs)
        self._closed = False
        self._opened: dict[int, tuple[Runner, ...]] = {}
        # One for each part: while it is opened, which may take seconds, others serve.
        self._locks = [threading.Lock() for _ in variant.parts]
        self._ways: dict[tuple[Sequence[int], ...], _Way] = {}
        self._weights: dict[Digest, dict[str, torch.Tensor]] = {}
        self._weights_lock = threading.Lock()

    def __repr__(self) -> str:
        given, made = (", ".join(map(_shown, specs)) for specs in (self.inputs, self.outputs))
        profiles = ", ".join(profile.name for profile in self.profiles)
        return f"<Session {self.version} {self.target}: {given} -> {made}; profiles {profiles}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def version(self) -> Version:
        """The bundle's name and number, and the digest of its index."""
        return self.bundle.version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a call takes, by name."""
        return self.bundle.index.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What a call returns, by name."""
        return self.bundle.index.outputs

    @property
    def target(self) -> Target:
        """What the variant was built for."""
        return self.variant.target

    def __call__(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        """Run on torch tensors, NumPy arrays or what offers DLPack, and return torch tensors by output name.

        Inputs go by name, or by position in the order of `inputs`. Those inside a list, dict or
        dataclass (`feats.0`) are passed in one, or by their names in `**`.

        Outputs are on the device of the first input that is on a GPU, else on the CPU. Raises
        InputError (names, dtypes or sizes do not fit), RuntimeFailure (it can't run, is closed, or returns
        other dtypes or sizes than the bundle says) and, on the first use of a part, IntegrityError,
        NotFoundError or FormatError (its blobs).
        """
        if placed:
            inputs = by_name(self.inputs, placed, inputs)
        values = self._intake(inputs)
        key = tuple([tensor.shape for tensor in values.values()])
        way = self._ways.get(key) or self._way(key, values)
        device: torch.device | str = "cpu"
        for tensor in values.values():
            if not tensor.is_cpu:
                device = tensor.device
                break
        for runner in way.runners:
            values.update(runner(values, way.profile))
        outputs = {}
        for name, value in way.returns:
            tensor = values[value]
            outputs[name] = tensor if tensor.device == device else tensor.to(device)
        for name, dtype, size in way.expected:
            if outputs[name].dtype is not dtype or outputs[name].shape != size:
                hold(self.outputs, outputs, way.symbols)
                break
        return outputs

    def _way(self, key: tuple[Sequence[int], ...], given: Mapping[str, torch.Tensor]) -> _Way:
        """What calls with inputs of these sizes do, kept under `key`. InputError if they do not fit."""
        symbols = bind(self.inputs, {name: tuple(tensor.shape) for name, tensor in given.items()})
        profile = choose(self.profiles, symbols)
        part = self.variant.part(profile.name)
        names = [spec.name for spec in self.outputs]
        made = _Way(
            profile.name,
            self._runners(part),
            tuple(zip(names, part.returns, strict=True)),
            tuple(expected(self.outputs, symbols)),
            symbols,
        )
        if len(self._ways) >= _WAYS:
            self._ways.clear()
        self._ways[key] = made
        if self._closed:  # meanwhile
            self._ways.clear()
        return made

    async def acall(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        """A call in another thread, on the caller's CUDA stream; its results are there when it returns."""
        import torch

        used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream() if used else None

        def call() -> dict[str, torch.Tensor]:
            with torch.cuda.stream(stream):
                outputs = self(*placed, **inputs)
                if any(tensor.is_cuda for tensor in outputs.values()):
                    torch.cuda.current_stream().synchronize()
            return outputs

        return await asyncio.to_thread(call)

    def profile_for(self, **inputs: Any) -> Profile:
        """The profile that a call with these tensors would use. InputError if no profile fits."""
        given = flattened(inputs, [spec.name for spec in self.inputs])
        shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
        return choose(self.profiles, bind(self.inputs, shapes))

    def open(self) -> Session:
        """Open every part now rather than on its first use. Returns this session."""
        for part in self.variant.parts:
            self._runners(part)
        return self

    def warm_up(self) -> Session:
        """`open`, and call it with each of the bundle's goldens until nothing is made anew. Returns this session.

        Raises RuntimeFailure if an answer is farther from its golden than the variant's tolerance.
        """
        self.open()
        for _ in range(_CALLS_UNTIL_WARM):
            for case in replay(self, self.bundle, self.variant):
                if not case.passed:
                    raise RuntimeFailure(
                        f"{self.version} {self.target}: output {case.output!r} of the golden {case.golden!r} is "
                        f"off by {case.worst:.3g} times its tolerance. Do not serve it: run `kiln validate`"
                    )
        return self

    def close(self) -> None:
        """Free what was opened, once the calls that run have ended. A later call raises RuntimeFailure."""
        self._closed = True
        self._ways.clear()
        for key, lock in enumerate(self._locks):
            with lock:
                self._opened.pop(key, None)
        self._weights.clear()

    def _runners(self, part: Part) -> tuple[Runner, ...]:
        key = self.variant.parts.index(part)
        with self._locks[key]:
            if self._closed:
                raise RuntimeFailure(f"the session of {self.version} is closed; load it again")
            if key not in self._opened:
                self._opened[key] = tuple(self._open_segment(s) for s in part.segments)
            return self._opened[key]

    def _open_segment(self, segment: Segment) -> Runner:
        if segment.kind == "torch_graph":
            return self._open_graph(segment)
        if self.target.backend == "rtx":
            from enginebundle.runtimes import tensorrt_rtx

            return tensorrt_rtx.open_engine(
                self.bundle.read(segment.blob), segment, self._cuda_graphs
            )
        if self.target.backend == "trt":
            from enginebundle.runtimes import tensorrt

            weights: dict[str, torch.Tensor] = {}
            for digest in segment.blobs[1:]:
                # Not kept: an engine copies them to the GPU.
                weights |= self.bundle.read_tensors(digest)
            host_code = self.variant.version_compatible
            return tensorrt.open_engine(
                self.bundle.read(segment.blob), segment, weights, host_code, self._cuda_graphs
            )
        raise FormatError(f"variant {self.target} holds an engine; only rtx and trt run engines")

    def _open_graph(self, segment: Segment) -> Runner:
        from enginebundle.runtimes.torch_graph import TorchGraph

        device = "cpu" if self.target.backend == "torch" else "cuda"
        data = self.bundle.read(segment.blob)
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
        return lambda values, _: run(values)

    def _read_weights(
        self, digest: Digest | None, names: Set[str], device: str
    ) -> dict[str, torch.Tensor]:
        """These tensors of a safetensors blob, each moved once, however many parts share it.

        The blob may hold others, which only the variant's engines need.
        """
        if digest is None:
            return {}
        with self._weights_lock:
            known = self._weights.setdefault(digest, {})
            if not names <= known.keys():
                tensors = self.bundle.read_tensors(digest)
                new = (names & tensors.keys()) - known.keys()
                known |= {name: tensors[name].to(device) for name in new}
        return known


def _shown(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"
