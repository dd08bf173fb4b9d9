"""Operators that no engine takes, whatever their arguments, each with its reason as data."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.convert.registry import Refusal
from enginebundle.runtimes.control import OPERATORS

_TRAINING = """
    _adaptive_avg_pool2d_backward.default _adaptive_avg_pool3d_backward.default
    adaptive_max_pool2d_backward.default adaptive_max_pool3d_backward.default
    avg_pool2d_backward.default avg_pool3d_backward.default convolution_backward.default
    max_pool2d_with_indices_backward.default max_pool3d_with_indices_backward.default
"""
_RANDOM = """
    bernoulli.default bernoulli.p bernoulli.Tensor exponential.default multinomial.default
    normal.float_float normal.float_Tensor normal.Tensor_float normal.Tensor_Tensor
    normal_functional.default poisson.default rand.default rand_like.default randint.default
    randint.low randint_like.default randint_like.low_dtype randn.default randn_like.default
    randperm.default uniform.default
"""
_NUMBER_OF_DATA = "_local_scalar_dense.default item.default equal.default allclose.default"
_SIZE_OF_DATA = """
    _unique.default _unique2.default argwhere.default bincount.default masked_select.default
    nonzero.default nonzero_numpy.default repeat_interleave.Tensor unique_consecutive.default
    unique_dim.default unique_dim_consecutive.default
"""


def _rows(names: str, code: str, reason: str, remedy: str) -> dict[str, Refusal]:
    ops = [f"aten.{name}" for name in names.split()]
    return {op: Refusal(code, f"{op} {reason}", remedy) for op in ops}


_CONTROL_FLOW = Refusal(
    "control_flow",
    "data choose what runs next, and how often; expected operators that always run",
    "torch runs it; torch.where computes both branches in the engine, where both are cheap",
)

STATED: Mapping[str, Refusal] = {
    **dict.fromkeys(sorted(OPERATORS), _CONTROL_FLOW),
    **_rows(
        _TRAINING, "training", "computes a gradient; expected an inference operator",
        "export the model's forward under torch.no_grad()",
    ),
    **_rows(
        _RANDOM, "random",
        "draws random numbers; expected a result that the inputs determine, so that goldens can check it",
        "draw the numbers outside the model and pass them as an input",
    ),
    **_rows(
        _NUMBER_OF_DATA, "data_dependent",
        "copies a number from a tensor to the host; expected values that stay on the device",
        "keep the number as a 0-dimensional tensor, or pass it as an input",
    ),
    **_rows(
        _SIZE_OF_DATA, "data_dependent",
        "returns a result whose size depends on data; expected sizes set by the inputs' shapes "
        "(TensorRT-RTX builds no NonZero layer)",
        "use a form of fixed size (torch.nonzero_static, torch.where or a mask); otherwise this part runs in torch",
    ),
    **_rows(
        "as_strided.default as_strided_scatter.default sym_stride.int sym_storage_offset.default",
        "strides",
        "reads memory by stride; expected a tensor whose memory has no gaps, and numbers computed "
        "from the inputs' sizes, which lowering rewrites",
        "index, slice or permute the tensor instead",
    ),
}  # fmt: skip
"""The refusal of each overload, as `Registry.find` returns it."""
