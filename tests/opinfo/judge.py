"""What becomes of one sample: the whole compiler on it, and the numbers against eager torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_flatten

from compiler.backends import tensorrt_rtx
from compiler.backends.builder import BuildRefused, EngineOptions, build_engine
from compiler.capture import CaptureRefused, capture
from compiler.convert.evaluate import EvaluationError, evaluate
from compiler.convert.interpret import ConversionError, convert, value_table
from compiler.convert.library import REGISTRY
from compiler.convert.network import Network
from compiler.convert.registry import Refusal
from compiler.lower import LowerRefused, lower
from compiler.partition import is_compute, partition
from compiler.program import Program
from compiler.trace import TraceRefused, trace
from enginebundle.graph import Graph
from enginebundle.spec import DTYPES, Profile, TensorSpec
from tests.opinfo.samples import Sample

State = Literal["converted", "decomposed", "constant", "torch", "excluded", "wrong"]
PROFILE = Profile("default", ())


@dataclass(frozen=True)
class Verdict:
    """`converted`: one engine, the operator itself has a converter. `decomposed`: one engine of
    other operators. `constant`: nothing to compute. `torch`: some node has no converter, `reason`
    says which. `excluded`: not something an inference engine is asked. `wrong`: must not be."""

    sample: str
    state: State
    reason: str = ""
    operators: tuple[str, ...] = ()
    worst: float = 0.0


def judge(sample: Sample, build: bool = True) -> Verdict:
    """Export, lower, partition, convert, evaluate, compare; with `build`, build an engine too."""
    reason = not_for_engines(sample)
    if reason:
        return Verdict(sample.id, "excluded", reason)
    try:
        want = [t for t in tree_flatten(sample.module(*clones(sample)))[0] if _is_tensor(t)]
    except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError) as error:
        return Verdict(sample.id, "excluded", f"eager torch raises {type(error).__name__}")
    specs = tuple(
        TensorSpec(f"x{i}", str(t.dtype).removeprefix("torch."), tuple(t.shape))
        for i, t in enumerate(sample.tensors)
    )
    try:
        with torch.no_grad():
            feeds = dict(zip([s.name for s in specs], clones(sample), strict=True))
            exported = trace(sample.module, specs, (PROFILE,), lambda symbols: feeds)
            whole = capture(lower(exported, REGISTRY.ops()), specs)
    except (TraceRefused, LowerRefused, CaptureRefused) as error:
        return Verdict(sample.id, "torch", f"export: {error.code}: {error.message[:160]}")
    operators = tuple(dict.fromkeys(n.op for n in whole.graph.nodes if is_compute(n)))
    refused = refusals(whole.graph)
    if refused:
        return Verdict(sample.id, "torch", refused[0].detail, operators)
    return _numbers(sample, whole, want, operators, build)


def refusals(graph: Graph) -> list[Refusal]:
    """Why nodes of the graph stay in torch."""
    values = value_table(graph)

    def refuse(node: Any) -> Refusal | None:
        found = REGISTRY.find(node, values)
        return found if isinstance(found, Refusal) else None

    parts = partition(graph, refuse)
    return [
        kept.reason
        for kept in parts.report.kept
        if kept.reason.code not in ("constant", "too_small")
    ]


def _numbers(
    sample: Sample,
    program: Program,
    want: list[torch.Tensor],
    operators: tuple[str, ...],
    build: bool,
) -> Verdict:
    state: State = "converted" if len(operators) <= 1 else "decomposed"
    if not program.graph.nodes:
        return Verdict(sample.id, "constant")
    try:
        network = convert(program.graph, program.weights, REGISTRY)
        got = evaluate(
            network, {s.name: t for s, t in zip(program.graph.inputs, clones(sample), strict=True)}
        )
    except ConversionError as error:
        return Verdict(sample.id, "torch", error.refusal.detail[:300], operators)
    except EvaluationError as error:
        return Verdict(sample.id, "wrong", f"evaluation: {error}"[:300], operators)
    values = [got[spec.name] for spec in program.graph.outputs]
    if len(values) != len(want):
        return Verdict(
            sample.id, "wrong", f"{len(want)} results expected, got {len(values)}", operators
        )
    worst = 0.0
    for value, expected in zip(values, want, strict=True):
        found = distance(value, expected)
        worst = max(worst, found)
        if found > 1:
            detail = f"off by {found:.3g} times the bound; {describe(value, expected)}"
            return Verdict(sample.id, "wrong", detail, operators, found)
    if build and network.layers:
        try:
            _build(network, program)
        except BuildRefused as error:
            return Verdict(sample.id, "torch", f"build: {error.message[:300]}", operators, worst)
    return Verdict(sample.id, state, "", operators, worst)


def _build(network: Network, program: Program) -> None:
    options = EngineOptions((PROFILE,), capabilities=("sm_89",))
    build_engine(tensorrt_rtx.module(), network, program.graph, options)


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest error in units of the bound; infinite where dtype, shape or a NaN differs."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return math.inf
    if not want.numel():
        return 0.0
    if not want.is_floating_point():
        return 0.0 if torch.equal(got, want) else math.inf
    rtol, atol = {torch.float16: (2e-3, 2e-3), torch.bfloat16: (2e-2, 2e-2)}.get(
        want.dtype, (1e-4, 1e-5)
    )
    a, b = got.double(), want.double()
    same = (a == b) | (a.isnan() & b.isnan())
    error = torch.where(same, 0.0, (a - b).abs() / (atol + rtol * b.abs()))
    error = torch.where(error.isnan(), math.inf, error)
    return float(error.max())


def describe(got: torch.Tensor, want: torch.Tensor) -> str:
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"expected {want.dtype} {tuple(want.shape)}, got {got.dtype} {tuple(got.shape)}"
    wrong = (
        (got != want) & ~(got.isnan() & want.isnan()) if want.is_floating_point() else got != want
    )
    place = tuple(int(i) for i in wrong.nonzero()[0])
    return f"at {place} expected {want[place].item()}, got {got[place].item()}"


def clones(sample: Sample) -> list[torch.Tensor]:
    """Fresh tensors: an operator may write into its inputs."""
    return [t.detach().clone() for t in sample.tensors]


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor)


RANDOM = ("rand", "normal", "bernoulli", "multinomial", "dropout", "uniform", "cauchy", "exponential",
          "geometric", "log_normal", "rrelu", "empty", "new_empty", "gumbel", "fractional_max_pool",
          "scaled_dot_product_attention_dropout", "nn.functional.feature_alpha")  # fmt: skip


def not_for_engines(sample: Sample) -> str:
    """Why a sample is nothing an inference engine is asked, or an empty text."""
    if any(t.layout != torch.strided for t in sample.tensors):
        return "sparse or quantized tensors"
    if any(str(t.dtype).removeprefix("torch.") not in DTYPES for t in sample.tensors):
        return "a dtype outside the bundle format"
    if any(t.is_complex() for t in sample.tensors):
        return "complex inputs"
    short = sample.op.removeprefix("nn.functional.").removeprefix("_refs.")
    if any(short.startswith(word) or f".{word}" in short for word in RANDOM):
        return "random or uninitialized results"
    if not sample.tensors:
        return "no tensor inputs"
    if "jiterator" in sample.op:
        return "CUDA only"
    return ""
