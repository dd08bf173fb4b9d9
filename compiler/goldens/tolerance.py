"""How far an output may be from its golden: a table by backend and precision, scaled by the output.

A tolerance passes `got` where |got - want| <= atol + rtol * |want|, element by element. Rounding
errors of a network are proportional to the size of the numbers it adds up, not to each result, so
`atol` is a factor times the RMS of the golden output: embeddings of 0.01 and logits of 30 are held
to the same number of digits. Integers and bools must be equal.

Where the factors come from, with u the unit roundoff of the products' inputs:

| precision | u      | what limits it                                                            |
|-----------|--------|---------------------------------------------------------------------------|
| fp32      | 6.0e-8 | order of sums and approximated exp, erf, tanh: some 10 u a layer          |
| tf32      | 4.9e-4 | 10-bit mantissas in each product's inputs, float32 sums                   |
| fp16      | 4.9e-4 | the same, and each stored value rounded again                             |
| bf16      | 3.9e-3 | the same with 7-bit mantissas                                             |

Depth: roundings of successive layers are independent, and normalizations and residual sums keep a
layer from enlarging what it receives, so the relative error after L products grows like
sqrt(L) * u, not like L * u. The table holds for DEPTH products in a chain, where sqrt(L) = 10:
6e-7 for fp32, 5e-3 for tf32, 7e-3 for fp16 (two roundings), 4e-2 for bf16. On top of this,

* `torch` fp32 gets 5e-5. Same library as the golden, but another CPU sums in another order, and
  batch norms were folded into convolutions: EfficientNet-Lite0's error was 0.8e-5.
* `rtx` fp32 gets the row of tf32: TensorRT-RTX 1.5 was seen to use TF32 products on an H200 with
  its TF32 flag set, cleared or left alone, until NVIDIA_TF32_OVERRIDE=0 turned them off in the driver.
* `trt` fp32 gets 3e-4: other kernels, fast approximations, and fused sums of thousands of
  terms, whose own error of about sqrt(K) u is not in the estimate above. A wrong epsilon, a missing
  term or TF32 products left on exceed it.
* tf32, fp16, bf16 get 6 times the expected error: that is a standard deviation, while the gate looks
  at the largest of 1e3 to 1e6 elements. EfficientNet-Lite0's 8,000 logits were off by up to 6.0
  of their own deviations in tf32 (an H100, and products of rounded factors on a CPU, agree
  within 3 %) and 5.2 in fp16; MiniLM's embeddings by 5.4. A model that is not stable in half precision
  must fail, or be given a tolerance of its own: those logits in bf16 are off by up to 0.39 of their RMS.

A graph that computes in float16 or bfloat16 where the precision asks for more, since its weights are of
that type, is held to the row of that type (`computed`): its roundings are those of the model itself.

A longer chain widens the factors by sqrt(depth / DEPTH); a shorter one does not narrow them.
What no table can know, the user states: a model whose last step cancels large numbers, or whose
integer outputs are an argmax over near ties.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from compiler.goldens.source import ANY_OUTPUT
from compiler.refused import Refused
from compiler.trace.names import packet
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Target, Tolerance

DEPTH = 100
"""The number of products in a chain that the table assumes."""

TINY = 1e-6
"""An output with a smaller RMS, such as all zeros, is compared as if this were its RMS."""


@dataclass(frozen=True, slots=True)
class Factors:
    """`scale` times an output's RMS is its atol; `rtol` matters where single elements are large."""

    scale: float
    rtol: float


_HALF = {
    "tf32": Factors(3e-2, 1e-2),
    "fp16": Factors(4e-2, 1e-2),
    "bf16": Factors(2.4e-1, 5e-2),
}
TABLE: Mapping[str, Mapping[str, Factors]] = {
    # The CPU has no TF32: a tf32 program computes there in float32.
    "torch": {**_HALF, "fp32": Factors(5e-5, 5e-5), "tf32": Factors(5e-5, 5e-5)},
    "rtx": {**_HALF, "fp32": _HALF["tf32"]},
    "trt": {**_HALF, "fp32": Factors(3e-4, 3e-4)},
}
"""Factors by backend and precision, for DEPTH products in a chain."""

_HALVES = {"float16": "fp16", "bfloat16": "bf16"}
_COARSE = {"fp32": 0, "tf32": 1, "fp16": 2, "bf16": 3}
_WORDS = """
view _unsafe_view reshape expand permute transpose t squeeze unsqueeze slice select clone contiguous alias
detach cat stack split split_with_sizes embedding index index_select gather _to_copy
"""
_MOVES = frozenset(f"aten.{name}" for name in _WORDS.split())
"""Operators that round nothing."""

_PRODUCTS = {
    f"aten.{name}": count
    for count, names in {
        1: "mm bmm addmm baddbmm addbmm addmv mv dot matmul linear bilinear convolution "
        "_convolution conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        2: "scaled_dot_product_attention lstm gru rnn_tanh rnn_relu",
    }.items()
    for name in names.split()
}


class ToleranceRefused(Refused):
    """No tolerance can be given. Codes: `output` (no such output), `precision` (not in the table)."""


def tolerances(
    target: Target,
    precision: str,
    wanted: Sequence[Mapping[str, torch.Tensor]],
    overrides: Mapping[str, Tolerance] | None = None,
    depth: int = DEPTH,
) -> tuple[tuple[str, Tolerance], ...]:
    """One tolerance for each output, by name in order.

    `wanted` are the golden outputs, one mapping per golden. An override replaces the table's whole
    tolerance for the output it names, or for all others under ANY_OUTPUT; its `atol` is absolute.
    `precision` is `computed(precision, graph)`, `depth` is `chain(graph)`. Raises ToleranceRefused.
    """
    given = overrides or {}
    names = sorted({name for case in wanted for name in case})
    for name in given.keys() - {*names, ANY_OUTPUT}:
        near = difflib.get_close_matches(name, names, 3, 0.5) or names
        raise ToleranceRefused(
            "output",
            f"tolerance for {name!r}: expected an output of the model, but none has that name",
            f"outputs are: {', '.join(near)}",
        )
    factors = _factors(target, precision, depth)
    result = []
    for name in names:
        found = given.get(name) or given.get(ANY_OUTPUT)
        cases = [case[name] for case in wanted if name in case]
        result.append((name, found or _scaled(factors, cases)))
    return tuple(result)


def tolerance(target: Target, precision: str, want: torch.Tensor, depth: int = DEPTH) -> Tolerance:
    """The table's tolerance for one tensor."""
    return _scaled(_factors(target, precision, depth), [want])


def computed(precision: str, graph: Graph) -> str:
    """The row of the table for a graph: that of the coarsest type in which it computes, or `precision`.

    Views, casts and the outputs' own type do not count: only what operators make of half-precision values.
    """
    dtypes = {spec.name: spec.dtype for spec in graph.inputs}
    dtypes |= {weight.name: weight.spec.dtype for weight in graph.weights}
    found = {precision}
    for node in graph.nodes:
        for value in node.outputs:
            dtypes[value.name] = value.dtype
            reads = {dtypes.get(name) for name in node.inputs()}
            if value.dtype in _HALVES and value.dtype in reads and packet(node.op) not in _MOVES:
                found.add(_HALVES[value.dtype])
    return max(found, key=lambda row: _COARSE.get(row, 0))


def remedy(precision: str, graph: Graph) -> str:
    """What helps where an output is outside its tolerance."""
    steps = ["keep that module in torch with torch_executed_modules"]
    if precision != "fp32":
        steps.append("raise the precision")
    elif computed(precision, graph) != precision:
        steps.append("load the model in float32, if its half-precision weights need not be kept")
    return f"{', '.join(steps)}, or state a tolerance for the output"


def chain(graph: Graph) -> int:
    """The most matrix products and convolutions that follow one another in a graph, at least 1."""
    depth: dict[str, int] = {}
    longest = 1
    for node in graph.nodes:
        before = max((depth.get(name, 0) for name in node.inputs()), default=0)
        here = before + _PRODUCTS.get(packet(node.op), 0)
        longest = max(longest, here)
        depth.update((value.name, here) for value in node.outputs)
    return longest


def _factors(target: Target, precision: str, depth: int) -> Factors:
    rows = TABLE[target.backend]
    if precision not in rows:
        raise ToleranceRefused(
            "precision",
            f"no tolerance is known for precision {precision!r} on {target}",
            f"choose one of {', '.join(sorted(rows))}",
        )
    row, wider = rows[precision], max(1.0, math.sqrt(depth / DEPTH))
    return Factors(row.scale * wider, row.rtol * wider)


def _scaled(factors: Factors, cases: Sequence[torch.Tensor]) -> Tolerance:
    """The tolerance for an output, whose goldens are `cases`."""
    dtype = cases[0].dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        return Tolerance(0.0, 0.0)
    # An output's goldens differ in size; an outlier does not move the median.
    sizes = sorted(magnitude(case) for case in cases)
    size = max(sizes[len(sizes) // 2], TINY)
    # The last rounding, to the output's own type, happens whatever precision came before.
    rtol = max(factors.rtol, 2 * torch.finfo(dtype).eps)
    return Tolerance(_two_digits(factors.scale * size), _two_digits(rtol))


def magnitude(want: torch.Tensor) -> float:
    """Root mean square of the finite elements; 0 where there are none."""
    finite = want[torch.isfinite(want)].abs().double()
    largest = float(finite.max()) if finite.numel() else 0.0
    # Relative to the largest, since squares overflow where the numbers do not.
    return largest and largest * float((finite / largest).square().mean().sqrt())


def _two_digits(number: float) -> float:
    """Rounded up to two significant digits: readable, and independent of the last bit."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{math.ceil(number / unit - 1e-6) * unit:.2g}")
