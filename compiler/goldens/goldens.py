"""Goldens: inputs with the outputs that the eager model gives for them, in the model's own dtype. An input that
the model writes into is an output, too: `x_after`.

    make_goldens(model, source, inputs, profiles) -> (GoldenCase(name, inputs, outputs), ...)
    GoldenCase.to_bytes() / GoldenCase.from_bytes(name, data)       safetensors, input.* and output.*

compiler/goldens/inputs.py reads the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from compiler.goldens.inputs import GoldensRefused, read_inputs
from compiler.goldens.reach import reach
from compiler.goldens.source import GoldenSource
from compiler.program import weights_from_bytes, weights_to_bytes
from compiler.refused import Refused, with_causes
from compiler.trace import masks
from compiler.trace.arguments import passed_by_name
from compiler.trace.outputs import output_tensors
from compiler.trace.written import name_after, reshapes
from enginebundle.errors import InputError
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.serve.dispatch import bind, choose

__all__ = [
    "GoldenCase",
    "GoldenSource",
    "GoldensRefused",
    "make_goldens",
]

_GIVE = (
    'give real inputs, as `goldens: { entrypoint: "module:function" }` (it returns a list of '
    "{input: tensor}) or `goldens: { file: inputs.safetensors }`; if only integers are out of range, "
    "bound them: `inputs: { ids: { ..., high: 1000 } }`; or correct the model"
)


@dataclass(frozen=True)
class GoldenCase:
    """One call: tensors by input name, and the reference tensors by output name."""

    name: str
    inputs: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]

    def to_bytes(self) -> bytes:
        """Safetensors with keys `input.<name>` and `output.<name>`."""
        return weights_to_bytes(
            {f"input.{name}": tensor for name, tensor in self.inputs.items()}
            | {f"output.{name}": tensor for name, tensor in self.outputs.items()}
        )

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> GoldenCase:
        """The inverse of `to_bytes`."""
        tensors = weights_from_bytes(data)
        return cls(name, _part(tensors, "input."), _part(tensors, "output."))


def make_goldens(
    model: torch.nn.Module,
    source: GoldenSource,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    search_path: tuple[str, ...] = (),
) -> tuple[GoldenCase, ...]:
    """Read the inputs, check that each fits a profile, and run the eager model on them.

    The source's entrypoint is looked up in `search_path`, then in `sys.path`.

    Raises GoldensRefused: unreadable or ill-typed inputs, a case outside every profile, a model
    that fails or whose result is random.
    """
    profiles = profiles or (Profile("static", ()),)
    cases = read_inputs(source, inputs, profiles, search_path, partial(_bounds, model, inputs))
    for name, tensors in cases.items():
        try:
            choose(profiles, bind(inputs, {key: tensor.shape for key, tensor in tensors.items()}))
        except InputError as error:
            raise GoldensRefused(
                "profile",
                f"golden {name!r} fits no profile: {error}",
                "widen a profile, or cut the golden's inputs to its sizes",
            ) from error
    with _deterministic(), masks.as_given():
        results = {
            name: _run(model, inputs, tensors, name, source) for name, tensors in cases.items()
        }
        first = next(iter(cases))
        again = _run(model, inputs, cases[first], first, source)
    for name, tensor in again.items():
        if not _same(tensor, results[first][name]):
            raise GoldensRefused(
                "random",
                f"output {name!r} differs between two runs of the eager model on golden {first!r}",
                "take randomness out of forward, or make the noise an input",
            )
    return tuple(GoldenCase(name, cases[name], results[name]) for name in cases)


def check_names(goldens: tuple[GoldenCase, ...], outputs: Sequence[str]) -> None:
    """GoldensRefused unless each case has these outputs: forward may write where torch.export sees nothing."""
    for case in goldens:
        if others := case.outputs.keys() ^ set(outputs):
            raise GoldensRefused(
                "mutation",
                f"on golden {case.name!r} the eager model gives {', '.join(case.outputs)}, and the traced one "
                f"{', '.join(outputs)}: only one of them writes into an input ({', '.join(sorted(others))})",
                "write with torch's operators (not through `.data` or NumPy), and in every call",
            )


def _run(
    model: torch.nn.Module,
    inputs: tuple[TensorSpec, ...],
    tensors: Mapping[str, torch.Tensor],
    name: str,
    source: GoldenSource,
) -> dict[str, torch.Tensor]:
    given = {
        spec.name: tensors[spec.name].clone() for spec in inputs
    }  # forward may write into them
    versions = {key: tensor._version for key, tensor in given.items()}
    try:
        with torch.inference_mode():
            result = _call(model, inputs, given)
        outputs = output_tensors(result)
    except Refused:
        raise  # forward has no such inputs: nothing ran
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{n} {tensors[n].dtype} {tuple(tensors[n].shape)}" for n in tensors)
        drawn = ", which nobody gave: it was drawn at random" if source.drawn else ""
        raise GoldensRefused(
            "forward",
            f"the eager model fails on golden {name!r} ({shapes}){drawn}: {with_causes(error)}",
            _GIVE if source.drawn else "correct the golden's inputs, or the model",
        ) from error
    taken = set(outputs)
    for key, tensor in given.items():
        if tensor.shape != tensors[key].shape:
            found = reshapes(key)
            raise GoldensRefused(found.code, found.message, found.remedy)
        # A write that no version counts, through `.data` or NumPy, shows in the values.
        if tensor._version != versions[key] or not _same(tensor, tensors[key]):
            outputs[name_after(key, taken)] = tensor
    # Cloned, since an output may be one of the inputs, and inference tensors can't be saved twice.
    return {key: tensor.detach().clone().contiguous() for key, tensor in outputs.items()}


def _bounds(
    model: torch.nn.Module, inputs: tuple[TensorSpec, ...], probe: Mapping[str, torch.Tensor]
) -> Mapping[str, int]:
    try:
        copies = {name: tensor.clone() for name, tensor in probe.items()}
        return reach(copies, partial(_call, model, inputs))
    except Exception:  # noqa: BLE001 - what is wrong with the model shows when the goldens are made
        return {}


def _call(
    model: torch.nn.Module, inputs: tuple[TensorSpec, ...], tensors: Mapping[str, torch.Tensor]
) -> Any:
    arguments = {spec.name: tensors[spec.name] for spec in inputs}
    if passed_by_name(model, inputs):
        return model(**arguments)
    return model(*arguments.values())


@contextmanager
def _deterministic() -> Iterator[None]:
    """Use deterministic kernels where torch has them, then restore the previous setting."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(_comparable(one), _comparable(other))


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its NaNs replaced: a repeatable NaN is not random."""
    return tensor.nan_to_num() if tensor.is_floating_point() else tensor


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
