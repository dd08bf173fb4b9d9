"""Judges a random program: compiles it, and compares its numbers with double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from compiler.build import tensorrt_rtx
from compiler.build.builder import BuildRefused, EngineOptions, build_engine
from compiler.convert.interpret import convert
from compiler.convert.library import REGISTRY
from compiler.lower import LowerRefused, lower
from compiler.lower.capture import CaptureRefused, capture
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from compiler.program import Program
from compiler.trace.export import TraceRefused, trace
from enginebundle.format.spec import Profile, Range, TensorSpec
from tests.fuzz.programs import DYNAMIC, RandomProgram
from tests.fuzz.shrink import shrink
from tests.opinfo.judge import refusals

RTOL, ATOL, SLACK = 1e-4, 1e-5, 32
"""A result may be off by the sum of RTOL of its size, ATOL of 1 plus the tensor's largest element, and
SLACK times the error of eager torch in float32."""

Results = Mapping[str, torch.Tensor]
Runner = Callable[[bytes, Results], Results]
"""Executes an engine."""


@dataclass(frozen=True)
class Verdict:
    """What became of a program. `refused`: torch.export or the compiler refuses it, for `reason`.

    After a `fatal` verdict the process cannot judge any more programs.
    """

    sample: str
    state: Literal["right", "wrong", "refused", "not built"]
    reason: str = ""
    text: str = ""
    """A wrong program, as Python."""
    fatal: bool = False


def judge(
    program: RandomProgram, run: Runner | None = None, architecture: str = "sm_89"
) -> Verdict:
    """Compile, evaluate, build and, with `run`, execute; at each size if one is dynamic."""
    found = _compiled(program)
    if isinstance(found, str):
        return Verdict(program.id, "refused", found)
    captured, network = found
    for feeds, wants in _answers(program, captured):
        wrong = difference(evaluate(network, feeds), wants)
        if wrong:
            return Verdict(program.id, "wrong", f"evaluator: {wrong}", program.text)
    if not network.layers:
        return Verdict(program.id, "right")
    options = EngineOptions((_profile(program),), capabilities=(architecture,))
    try:
        engine = build_engine(tensorrt_rtx.module(), network, captured.graph, options)
    except BuildRefused as error:
        return Verdict(program.id, "not built", error.message[:300], program.text)
    if run is None:
        return Verdict(program.id, "right")
    for feeds, wants in _answers(program, captured):
        try:
            wrong = difference(run(engine, feeds), wants)
        except (AssertionError, RuntimeError) as error:
            reason = f"execution: {error}"[:300]
            return Verdict(program.id, "wrong", reason, program.text, "CUDA" in reason)
        if wrong:
            return Verdict(program.id, "wrong", f"engine: {wrong}", program.text)
    return Verdict(program.id, "right")


def on_cpu(program: RandomProgram) -> Verdict:
    """Judge without executing the engine; a wrong program is cut down."""
    return cut_down(program, judge)


def on_gpu(program: RandomProgram) -> Verdict:
    """Judge with an engine executed on this machine's GPU; a wrong program is cut down."""
    from tests.gpu.execute import execute

    run = partial(execute, tensorrt_rtx.module())
    return cut_down(program, partial(judge, run=run, architecture="sm_80"))


def cut_down(program: RandomProgram, judged: Callable[[RandomProgram], Verdict]) -> Verdict:
    """The verdict on a program; a bad one is first cut down to a smaller program of the same state."""
    verdict = judged(program)
    if verdict.state in ("right", "refused") or verdict.fatal:
        return verdict

    def as_bad(smaller: RandomProgram) -> bool:
        try:
            if not all(y.isfinite().all() for y in smaller.module(*smaller.inputs())):
                return False
            found = judged(smaller)
        except RuntimeError:  # PyTorch itself refuses it at some dynamic size
            return False
        return found.state == verdict.state and not found.fatal

    return judged(shrink(program, as_bad))


def _profile(program: RandomProgram) -> Profile:
    return Profile("p", (("n", Range(*DYNAMIC)),) if program.dynamic else ())


def _compiled(program: RandomProgram) -> tuple[Program, Network] | str:
    specs = tuple(
        TensorSpec(f"x{i}", "float32", ("n", *shape[1:]) if program.dynamic else shape)
        for i, shape in enumerate(program.shapes)
    )
    try:
        exported = trace(program.module, specs, (_profile(program),))
        captured = capture(lower(exported, REGISTRY.ops()), specs)
    except (TraceRefused, LowerRefused, CaptureRefused) as error:
        return f"{error.code}: {error.message[:300]}"
    refused = refusals(captured.graph)
    if refused:
        return refused[0].detail
    return captured, convert(captured.graph, captured.weights, REGISTRY)


Answer = tuple[torch.Tensor, torch.Tensor]
"""A result in double precision, and the tolerance of each element."""


def _answers(
    program: RandomProgram, captured: Program
) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, Answer]]]:
    """Inputs and the right results, at each size."""
    for first in DYNAMIC if program.dynamic else (None,):
        inputs = program.inputs(first)
        exact = program.module(*(x.double() for x in inputs))
        single = program.module(*inputs)
        feeds = dict(zip([spec.name for spec in captured.graph.inputs], inputs, strict=True))
        names = [spec.name for spec in captured.graph.outputs]
        yield feeds, dict(zip(names, map(_answer, exact, single), strict=True))


def _answer(exact: torch.Tensor, single: torch.Tensor) -> Answer:
    off = (exact - single).abs().max()
    return exact, RTOL * exact.abs() + ATOL * (1 + exact.abs().max()) + SLACK * off


def difference(got: Results, wants: Mapping[str, Answer]) -> str:
    """Describes where a result is off, or an empty text."""
    for name, (exact, tolerance) in wants.items():
        if got[name].shape != exact.shape:
            return f"{name}: expected the shape {tuple(exact.shape)}, got {tuple(got[name].shape)}"
        off = (got[name].double() - exact).abs()
        over = ~(off <= tolerance)  # NaN counts as off
        if over.any():
            place = tuple(over.nonzero()[0].tolist())
            return (
                f"{name}{list(exact.shape)}: {int(over.sum())} of {exact.numel()} off; "
                f"at {place} expected {exact[place]:.6g}, got {got[name][place]:.6g}"
            )
    return ""
