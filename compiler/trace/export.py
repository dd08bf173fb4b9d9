"""From a module and named inputs to a `torch.export` program with symbolic sizes.

    trace(model, inputs, profiles, examples=None) -> torch.export.ExportedProgram
    trace_recorded(...)                           -> (ExportedProgram, assertions that it leaves out, step)
        (compiler/trace/examples.py makes the default example inputs)

Four steps: named `Dim`s over the envelope of the profiles; then `Dim.AUTO`, after which
compiler/trace/guards.py checks what torch may have fixed or tied silently; where a size was read as a number, both
again with `strict=True`, which reads `len(x)` and `int(x.shape[0])` off Python's bytecode and so keeps
them symbolic; then TraceRefused, which quotes the guard and the line of the user's program behind it.

Where Python reads a tensor's truth only to raise, compiler/trace/truths.py exports without that assertion
and warns; any other branch on a tensor's values is refused.

A symbol whose envelope is a single number (min == max in every profile) is traced as that number.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch.export import ExportedProgram

from compiler.refused import first_lines
from compiler.trace import casts, composites, host_math, masks, sized
from compiler.trace.agreement import Agreement
from compiler.trace.arguments import by_position, passed_by_name
from compiler.trace.associative import lengths_kept
from compiler.trace.branches import holds_elsewhere
from compiler.trace.complaint import Complaint
from compiler.trace.constants import folded
from compiler.trace.dynamic_shapes import dynamic_shapes, longest
from compiler.trace.examples import ExampleMaker, TraceRefused, envelope, make_examples
from compiler.trace.failures import (
    data_dependent,
    export_refused,
    is_data_dependent,
    place,
)
from compiler.trace.guards import check_dimensions
from compiler.trace.short_sizes import kept_short
from compiler.trace.steps import SizeRead
from compiler.trace.truths import export_without
from compiler.trace.written import reshaped, reshapes
from enginebundle.format.spec import Profile, TensorSpec

__all__ = [
    "ExampleMaker",
    "TraceRefused",
    "trace",
    "trace_recorded",
]

LOG = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]
Rung = Literal["named", "auto", "strict", "strict_auto"]
"""The steps to an exported program, in the order in which they are tried."""
STRICT: tuple[Rung, ...] = ("strict", "strict_auto")


def trace(
    model: torch.nn.Module,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    examples: ExampleMaker | None = None,
) -> ExportedProgram:
    """The program that `trace_recorded` exports."""
    return trace_recorded(model, inputs, profiles, examples)[0]


def trace_recorded(
    model: torch.nn.Module,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    examples: ExampleMaker | None = None,
    known: Tensors | None = None,
) -> tuple[ExportedProgram, tuple[str, ...], Rung]:
    """Export `model`, whose forward takes `inputs` by name (else by position), for all profiles.

    Inputs are passed as keyword arguments if forward's signature has their names, else by position,
    in order. Example tensors are always distinct objects: export would treat one object given twice
    as a single input. If export refuses forward because of assertions, they are left out with a
    warning; forward runs eagerly to find them, on copies of `known`, which are inputs that it takes, or
    of the examples. Their places are returned as text, with file and line. The last of the three results
    is the step that served. Raises TraceRefused.
    """
    composites.install()
    _register_outputs()
    ranges = envelope(inputs, profiles)
    tensors = make_examples(inputs, profiles, examples)
    keywords = passed_by_name(model, inputs)

    def call(tensors: Tensors) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((), dict(tensors)) if keywords else (tuple(tensors[s.name] for s in inputs), {})

    eager = {s.name: (tensors if known is None else known)[s.name] for s in inputs}

    def export(rung: Rung, tensors: Tensors = tensors) -> tuple[ExportedProgram, tuple[str, ...]]:
        args, kwargs = call(tensors)
        shapes = dynamic_shapes(inputs, ranges, rung in ("named", "strict"))
        dynamic = shapes if keywords else by_position(model, tuple(shapes.values()))

        strict = rung in STRICT

        def once() -> ExportedProgram:
            with _prepared(model, inputs if keywords else (), strict, longest(inputs, ranges)):
                return torch.export.export(
                    model, args, kwargs, dynamic_shapes=dynamic, strict=strict
                )

        try:
            return once(), ()
        except Exception as error:  # export and the user's forward may raise anything
            if not is_data_dependent(error):
                raise
            stopped = error
        return export_without(once, stopped, model, *call(eager))

    def complaint_of(exported: ExportedProgram) -> Complaint | None:
        agrees = Agreement(model, exported, inputs, profiles, keywords, examples)

        def elsewhere(condition: Any) -> bool:
            return holds_elsewhere(condition, exported, inputs, profiles, other_branch, agrees)

        return (
            reshaped(exported, inputs)
            or check_dimensions(exported, inputs, profiles, agrees, elsewhere)
            or agrees.at_smallest()
        )

    def other_branch(at: Mapping[str, int]) -> ExportedProgram:
        return export("auto", make_examples(inputs, profiles, examples, at))[0]

    rung: Rung = "named"
    try:
        exported, unchecked = export(rung)
        refusal = None
    except Exception as error:  # as above
        if is_data_dependent(error):
            raise data_dependent(error) from error
        if isinstance(error, SizeRead):
            raise _at_its_line(error) from error
        _refuse_if_forward_fails(model, eager, keywords)
        refusal = error
    if refusal is not None:
        LOG.info("named dimensions refused, trying Dim.AUTO: %s", first_lines(refusal))
        rung = "auto"
        try:
            exported, unchecked = export(rung)
        except SizeRead as error:
            raise _at_its_line(error) from error
        except Exception as error:  # as above
            raise export_refused(error, refusal) from error
    complaint = complaint_of(exported)
    if complaint is not None and complaint.number:
        LOG.info("%s; trying strict export", complaint.message)
        for one in STRICT:
            try:
                strict = export(one)
                if complaint_of(strict[0]) is None:
                    return *strict, one
            except Exception as error:  # noqa: BLE001  as above
                LOG.info("%s: refused: %s", one, first_lines(error))
    if complaint is not None:
        message = complaint.message
        if refusal is not None:
            message += f"\ntorch.export said: {first_lines(refusal, 6)}"
        raise TraceRefused(complaint.code, message, complaint.remedy) from refusal
    return exported, unchecked, rung


def _at_its_line(error: SizeRead) -> TraceRefused:
    return TraceRefused(error.code, f"{error.message}{place(error)}", error.remedy)


@contextmanager
def _prepared(
    model: torch.nn.Module, named: tuple[TensorSpec, ...], strict: bool, most: int
) -> Iterator[None]:
    """While open, torch and the model are as an export needs them."""
    # Dynamo, which strict export begins with, would trace these as well.
    numbers = nullcontext() if strict else folded(model)
    forms = nullcontext() if strict else sized.with_symbols()
    host = nullcontext() if strict else host_math.with_symbols()
    with (
        torch.no_grad(),
        _spelled_out(model, named),
        numbers,
        masks.as_given(),
        kept_short(most),
        casts.as_they_are(),
        lengths_kept(),
        forms,
        host,
    ):
        yield


@contextmanager
def _spelled_out(model: torch.nn.Module, inputs: tuple[TensorSpec, ...]) -> Iterator[None]:
    """While open, forward's signature names the inputs that its `**kwargs` takes.

    torch.export (as of 2.13) mismatches the dynamic sizes of inputs that arrive through `**kwargs`.
    """
    names = [spec.name for spec in inputs]
    parameters = inspect.signature(model.forward).parameters.values()
    if not set(names) - {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}:
        yield
        return
    forward, own = model.forward, "forward" in vars(model)

    def spelled_out(**given: torch.Tensor) -> Any:
        return forward(**given)

    keyword_only = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(name, keyword_only) for name in names])
    spelled_out.__signature__ = signature  # type: ignore[attr-defined]
    model.forward = spelled_out
    try:
        yield
    finally:
        if own:
            model.forward = forward
        else:
            del model.forward


def _register_outputs() -> None:
    """Make Hugging Face's outputs known to torch, if that library is here.

    They register themselves when their module is first imported, but not while torch exports, and the
    library imports its modules late: an export can be what imports that one.
    """
    if "transformers" in sys.modules:
        importlib.import_module("transformers.modeling_outputs")


def _refuse_if_forward_fails(
    model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], keywords: bool
) -> None:
    """TraceRefused if forward fails even without export, so that export is not blamed for it, or if it
    changes an input's shape, which export only stumbles over."""
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        with torch.inference_mode():
            model(**given) if keywords else model(*given.values())
    except Exception as error:  # the user's forward may raise anything
        shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in tensors.items())
        raise TraceRefused(
            "forward",
            f"forward fails before any export{place(error)}, with inputs {shapes}: "
            f"{first_lines(error)}",
            "correct the inputs' shapes and dtypes (give sizes that must agree one symbol, and a size "
            "that can't change a number), or trace with real inputs",
        ) from error
    for name, tensor in given.items():
        if (tensor.shape, tensor.stride()) != (tensors[name].shape, tensors[name].clone().stride()):
            found = reshapes(name)
            raise TraceRefused(found.code, found.message, found.remedy)
