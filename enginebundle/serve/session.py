"""A loaded variant: named tensors in, named tensors out.

The shapes of a call choose its profile; the part that serves that profile runs its segments in
order. A part is opened on its first use, and each of its blobs is verified just before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.errors import RuntimeFailure
from enginebundle.format.reference import LATEST
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.format.variant import Part, Variant
from enginebundle.runtimes.operators import NONE, Operators
from enginebundle.serve.aside import in_thread
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.dispatch import (
    Intake,
    bind,
    by_name,
    choose,
    expected,
    fitting,
    hold,
    no_profile,
)
from enginebundle.serve.files import Files
from enginebundle.serve.goldens import replay
from enginebundle.serve.nested import flattened
from enginebundle.serve.opening import Segments
from enginebundle.serve.outside import Outside
from enginebundle.serve.selection import Choice
from enginebundle.serve.structured import Structured
from enginebundle.serve.usage import Memory, Stats
from enginebundle.serve.watch import Following, Origin
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
        operators: Operators = NONE, cuda_graphs: bool = False, origin: Origin | None = None,
    ) -> None:  # fmt: skip
        """`selection`: the loader's decision about each variant, the chosen one first. `operators`: what
        torch graphs may call besides the reviewed ones, if the index says that they do. `cuda_graphs`: as
        for `load`. `origin`: how `watch` finds and loads other versions."""
        self.bundle = bundle
        self.variant = variant
        self.selection = tuple(selection)
        self._origin = origin
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
        self._segments = Segments(bundle, variant, operators, cuda_graphs)
        self._outside = Outside(
            bundle.index, self, self.selection, lambda other: Session(bundle, other, (), operators)
        )

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
    def files(self) -> Files:
        """The files that are attached to the bundle: a tokenizer, labels."""
        return self.bundle.files

    @property
    def target(self) -> Target:
        """What the variant was built for."""
        return self.variant.target

    @property
    def device(self) -> torch.device:
        """Where it computes: the CPU, or torch's current GPU, on which engines are opened."""
        import torch

        if self.target.backend == "torch":
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())

    @property
    def stats(self) -> Stats:
        """What it did up to now."""
        return Stats(
            self._outside.calls, len(self._opened), len(self.variant.parts), len(self._ways)
        )

    @property
    def memory(self) -> Memory:
        """What is open now, and what of it is shared, in bytes."""
        return self._outside.memory + self._segments.memory(self._opened)

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
        profile, part, runners = self._serving(symbols)
        names = [spec.name for spec in self.outputs]
        made = _Way(
            profile,
            runners,
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

    def _serving(self, symbols: Mapping[str, int]) -> tuple[str, Part, tuple[Runner, ...]]:
        """The profile, the part and its runners that answer at these sizes. InputError if none does."""
        if (profile := fitting(self.profiles, symbols)) is not None:
            part = self.variant.part(profile.name)
            return profile.name, part, self.runners(part)
        self._refuse_if_closed()
        if (found := self._outside.serving(symbols)) is None:
            raise no_profile(self.profiles, symbols)
        return found[0].profiles[0], *found

    async def acall(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        """A call in another thread, on the caller's CUDA stream; its results are there when it returns."""
        return await in_thread(lambda: self(*placed, **inputs))

    def structured(self, types: Iterable[type] | Mapping[str, type] = ()) -> Structured:
        """This session with results as the traced model returned them, rather than as a dict by name.

        `types` are classes of its named tuples and dataclasses, or these by the names that the bundle has
        (`bundle.index.structure`); InputError if one does not fit. See enginebundle/serve/structured.py.
        """
        return Structured(self, self.acall, self.bundle.index, types)

    def watch(self, alias: str = LATEST, *, every: float = 10.0, warm_up: bool = True) -> Following:
        """Follow an alias from here: see enginebundle/serve/watch.py. It then owns this session, and closes it.

        `every`: seconds between two looks. `warm_up`: replay a new version's goldens before it serves. Raises
        what `load` raises, if the alias can't be followed now.
        """
        if self._origin is None:
            raise RuntimeFailure(
                f"expected a session from `load`; {self.version} was made otherwise"
            )
        return Following(self, self._origin, alias, every, warm_up)

    def profile_for(self, **inputs: Any) -> Profile:
        """The profile that a call with these tensors would use. InputError if no profile fits."""
        given = flattened(inputs, [spec.name for spec in self.inputs])
        shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
        return choose(self.profiles, bind(self.inputs, shapes))

    def open(self) -> Session:
        """Open every part now rather than on its first use. Returns this session."""
        for part in self.variant.parts:
            self.runners(part)
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
        self._segments.close()
        self._outside.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeFailure(f"the session of {self.version} is closed; load it again")

    def runners(self, part: Part) -> tuple[Runner, ...]:
        """Who runs the segments of a part, which is opened if it is not."""
        key = self.variant.parts.index(part)
        with self._locks[key]:
            self._refuse_if_closed()
            if key not in self._opened:
                self._opened[key] = tuple(map(self._segments.open, part.segments))
            return self._opened[key]


def _shown(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]"
