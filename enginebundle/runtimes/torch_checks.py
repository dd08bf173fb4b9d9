"""What torch itself does not check, or only some of its kernels: arguments on which an operator reads or
writes outside its tensors, writes into an argument, draws random numbers, or takes memory or time without bound.

    check = CHECKS.get("aten._weight_norm.default")
    check(bound)        RuntimeFailure if the call must not be made; `bound`: every argument by its name

Found by reading the kernels and by calling them with bad arguments (tests/attacks). A check reads values only of
tensors that have any, so all others can be asked about tensors on the meta device too.
"""

from __future__ import annotations

from collections.abc import Mapping

from enginebundle.runtimes.checking import Bound, Check, need, within
from enginebundle.runtimes.recurrent_checks import RECURRENT
from enginebundle.runtimes.size_checks import SIZED


def _norm(bound: Bound) -> None:
    source = bound["input"]
    need(source.dim() >= 2, "an input of at least 2 dimensions")
    for name in ("weight", "bias", "running_mean", "running_var"):
        given = bound.get(name)
        need(
            given is None or given.shape == source.shape[1:2], f"{name} with one element a channel"
        )
    stats = [bound.get(name) is not None for name in ("running_mean", "running_var")]
    # The second name is instance_norm's.
    if bound.get("training", bound.get("use_input_stats", False)):
        need(
            not any(stats) or bound.get("pure", False),
            "no training: it changes the running statistics",
        )
        need(not any(stats) or all(stats), "both running statistics")
        need(source.numel() > 0, "elements to take statistics of")
    else:
        need(all(stats), "running statistics")


def _functional_norm(bound: Bound) -> None:
    _norm({**bound, "pure": True})


def _group_norm(bound: Bound) -> None:
    source, n, c = bound["input"], bound["N"], bound["C"]
    need(tuple(source.shape[:2]) == (n, c), "N and C as the input has them")
    need(n * c * bound["HxW"] == source.numel(), "HxW as the input has it")


def _rms_norm(bound: Bound) -> None:
    shape = tuple(bound["normalized_shape"])
    need(
        len(shape) > 0 and tuple(bound["input"].shape[-len(shape) :]) == shape,
        "the input's last sizes",
    )
    weight = bound["weight"]
    need(weight is None or tuple(weight.shape) == shape, "a weight of the normalized shape")


def _dropout(bound: Bound) -> None:
    need(bound["train"] is False or bound["p"] == 0, "no dropout")


def _attention(bound: Bound) -> None:
    need(bound["dropout_p"] == 0 and bound.get("dropout_mask") is None, "no dropout")


def _flash(bound: Bound) -> None:
    _attention(bound)
    q, k, v, mask = (bound[name] for name in ("query", "key", "value", "attn_mask"))
    need(q.dim() == k.dim() == v.dim() == 4, "query, key and value of 4 dimensions")
    need(q.shape[:2] == k.shape[:2] == v.shape[:2], "the same batch and heads in all of them")
    need(
        k.shape[2] == v.shape[2] and q.shape[3] == k.shape[3] == v.shape[3],
        "sizes that fit together",
    )
    need(q.dtype == k.dtype == v.dtype, "one dtype")
    if mask is not None:
        full = (*q.shape[:3], k.shape[2])[-mask.dim() :]
        fits = all(a in (1, b) for a, b in zip(mask.shape, full, strict=True))
        need(mask.dim() in (2, 4) and fits, "a mask that fits")


def _weight_norm(bound: Bound) -> None:
    v, g, dim = bound["v"], bound["g"], bound["dim"]
    need(v.dim() > 0 and -1 <= dim < v.dim() and v.dtype == g.dtype, "a dimension of the weight")
    shape = [size if axis == dim else 1 for axis, size in enumerate(v.shape)]
    need(g.numel() == 1 if dim == -1 else list(g.shape) == shape, "one norm a slice")


def _fused_weight_norm(bound: Bound) -> None:
    need(bound["dim"] in (0, bound["v"].dim() - 1), "the first or the last dimension")
    _weight_norm(bound)


def _fft(bound: Bound) -> None:
    rank = bound["self"].dim()
    axes = [axis + rank if axis < 0 else axis for axis in bound["dim"]]
    need(
        all(0 <= axis < rank for axis in axes) and len(set(axes)) == len(axes),
        "distinct dimensions",
    )
    need(0 <= bound["normalization"] <= 2, "a normalization of 0 to 2")
    need(bound["self"].numel() > 0, "elements")
    complex_input = "onesided" not in bound
    need(
        bound["self"].dtype.is_complex == complex_input, "complex or real numbers as it takes them"
    )
    if (length := bound.get("last_dim_size")) is not None:
        need(length > 0 and len(axes) > 0, "a last size")
        need(
            bound["self"].shape[axes[-1]] >= length // 2 + 1, "as much input as the last size needs"
        )


def _pdist(bound: Bound) -> None:
    need(bound["self"].dim() == 2 and bound["self"].is_contiguous(), "a contiguous matrix")


def _embedding_bag(bound: Bound) -> None:
    weight, indices, offsets = bound["weight"], bound["indices"], bound["offsets"]
    need(weight.dim() == 2 and indices.dim() in (1, 2), "a matrix, and rows of it")
    need(bound["mode"] in (0, 1, 2), "a mode of 0 to 2")
    within(indices, 0, weight.shape[0] - 1, "indices")
    if indices.dim() == 1:
        need(
            offsets.dim() == 1 and offsets.shape[0] >= int(bound["include_last_offset"]), "offsets"
        )
        within(offsets, 0, indices.shape[0], "offsets")
        within(
            offsets.diff() if offsets.shape[0] else None, 0, indices.shape[0], "offsets in steps"
        )
    given = bound["per_sample_weights"]
    need(given is None or given.shape == indices.shape, "a weight for each index")


def _segments(bound: Bound) -> None:
    data, axis = bound["data"], bound["axis"]
    need(not bound["unsafe"] and bound["indices"] is None, "lengths or offsets that are checked")
    need(0 <= axis < data.dim(), "an axis of the data")
    for name in ("lengths", "offsets"):
        given = bound[name]
        if given is not None:
            need(
                given.shape[:-1] == data.shape[:axis] and given.dim() == axis + 1,
                f"{name} for all rows",
            )
            within(given, 0, data.shape[axis], name)
    if (given := bound["offsets"]) is not None:
        need(given.shape[-1] >= 1, "offsets")
        within(given.diff(dim=-1), 0, data.shape[axis], "offsets in steps")
        within(given[..., :1], 0, 0, "first offsets")
    if (given := bound["lengths"]) is not None:
        within(given.sum(dim=-1), data.shape[axis], data.shape[axis], "a sum of lengths")


def _pivots(bound: Bound) -> None:
    matrix = next(bound[name] for name in ("LU", "LD", "LU_data") if name in bound)
    pivots = bound.get("pivots", bound.get("LU_pivots"))
    need(
        matrix.dim() >= 2 and pivots.shape == (*matrix.shape[:-2], min(matrix.shape[-2:])),
        "a pivot a row",
    )
    within(pivots.abs() if "LD" in bound else pivots, 1, matrix.shape[-2], "pivots")


def _grid(bound: Bound) -> None:
    need(bound["interpolation_mode"] in (0, 1, 2), "an interpolation of 0 to 2")
    need(
        bound["interpolation_mode"] < 2 or bound["input"].dim() == 4,
        "bicubic interpolation of images only",
    )
    need(bound["padding_mode"] in (0, 1, 2), "a padding of 0 to 2")


def _resize(bound: Bound) -> None:
    """Scales that say about the same as the sizes: kernels compute places in the input from them."""
    sizes = tuple(bound["self"].shape[2:]), tuple(bound["output_size"])
    need(len(sizes[0]) == len(sizes[1]), "an output size for each dimension")
    scales = [
        bound[name] for name in ("scales", "scales_d", "scales_h", "scales_w") if name in bound
    ]
    for before, after, scale in zip(*sizes, scales, strict=True):
        need(
            scale is None or (scale > 0 and abs(before * scale - after) <= 1),
            "scales that fit the sizes",
        )


def _fractional(bound: Bound) -> None:
    source, samples = bound["self"], bound["random_samples"]
    spatial = len(bound["output_size"])
    batch = tuple(source.shape[:-spatial])
    need(len(batch) in (1, 2), "an image, or a batch of them")
    need(tuple(samples.shape) == (*(1, *batch)[-2:], spatial), "a sample for each channel")
    need(samples.dtype == source.dtype, "one dtype")
    if not samples.is_meta and samples.numel():
        need(float(samples.min()) >= 0 and float(samples.max()) < 1, "samples from 0 to below 1")


def _grouped(bound: Bound) -> None:
    a, b, offsets = bound["self"], bound["mat2"], bound["offs"]
    if offsets is not None:
        ragged = (
            a.shape[-1] if b.dim() == a.dim() == 2 else a.shape[0] if a.dim() == 2 else b.shape[-1]
        )
        need(offsets.dim() == 1, "one offset a group")
        within(offsets, 0, ragged, "offsets")
        within(offsets.diff() if offsets.shape[0] else None, 0, ragged, "offsets in steps")


_RESIZES = [
    f"{name}.default" for name in (
        "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d",
        "upsample_nearest2d", "upsample_nearest3d", "upsample_trilinear3d", "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
    )
]  # fmt: skip
_ROWS: tuple[tuple[Check, str], ...] = (
    (_norm, "native_batch_norm.default batch_norm.default instance_norm.default "
            "_native_batch_norm_legit_no_training.default _native_batch_norm_legit.no_stats"),
    (_functional_norm, "_native_batch_norm_legit_functional.default"),
    (_group_norm, "native_group_norm.default"),
    (_rms_norm, "_fused_rms_norm.default"),
    (_dropout, "dropout.default native_dropout.default"),
    (_attention, "scaled_dot_product_attention.default _scaled_dot_product_attention_math.default"),
    (_flash, "_scaled_dot_product_flash_attention_for_cpu.default"),
    (_weight_norm, "_weight_norm.default"),
    (_fused_weight_norm, "_weight_norm_interface.default"),
    (_fft, "_fft_c2c.default _fft_c2r.default _fft_r2c.default"),
    (_pdist, "_pdist_forward.default"),
    (_embedding_bag, "_embedding_bag.default _embedding_bag_forward_only.default embedding_bag.default "
                     "embedding_bag.padding_idx"),
    (_segments, "segment_reduce.default"),
    (_pivots, "linalg_lu_solve.default linalg_ldl_solve.default lu_unpack.default"),
    (_grid, "grid_sampler.default grid_sampler_2d.default grid_sampler_3d.default"),
    (_resize, " ".join(_RESIZES)),
    (_fractional, "fractional_max_pool2d.default fractional_max_pool3d.default"),
    (_grouped, "_grouped_mm.default"),
)  # fmt: skip

CHECKS: Mapping[str, Check] = {
    **{f"aten.{name}": check for check, names in _ROWS for name in names.split()},
    **RECURRENT,
    **SIZED,
}
"""By operator. The order within a check decides which of several faults is told."""
