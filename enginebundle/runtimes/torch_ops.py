"""The operators that a bundle's torch graph may call: an allow-list, reviewed as data.

Each is a functional operator for inference: it reads its arguments and returns new values. None
writes into an argument, draws random numbers, opens a file, loads a library or runs code. A graph
that names anything else is refused before its first operator runs. A test checks every name against
torch's own schemas.
"""

from __future__ import annotations

_ATEN = """
__and__.Scalar __and__.Tensor __lshift__.Scalar __lshift__.Tensor __or__.Scalar __or__.Tensor
__rshift__.Scalar __rshift__.Tensor __xor__.Scalar __xor__.Tensor _adaptive_avg_pool2d.default
_adaptive_avg_pool3d.default _assert_async.default _assert_async.msg _assert_scalar.default
_assert_tensor_metadata.default _cdist_forward.default _conj.default _conj_physical.default
_convolution.default _convolution.deprecated _embedding_bag.default
_embedding_bag_forward_only.default _fft_c2c.default _fft_c2r.default _fft_r2c.default
_fused_rms_norm.default _grouped_mm.default _histogramdd_bin_edges.default
_histogramdd_from_bin_cts.default _histogramdd_from_bin_tensors.default _linalg_det.default
_linalg_eigh.default _linalg_eigvals.default _linalg_slogdet.default _linalg_solve_ex.default
_linalg_svd.default _local_scalar_dense.default _log_softmax.default
_native_batch_norm_legit.no_stats _native_batch_norm_legit_functional.default
_native_batch_norm_legit_no_training.default _pad_circular.default _pad_enum.default
_pdist_forward.default _prelu_kernel.default _reshape_alias.default _safe_softmax.default
_scaled_dot_product_attention_math.default _scaled_dot_product_flash_attention_for_cpu.default
_softmax.default _to_copy.default _unique.default _unique2.default _unsafe_index.Tensor
_unsafe_index_put.default _unsafe_masked_index.default _unsafe_view.default
_upsample_bicubic2d_aa.default _upsample_bicubic2d_aa.vec _upsample_bilinear2d_aa.default
_upsample_bilinear2d_aa.vec _upsample_nearest_exact1d.default _upsample_nearest_exact1d.vec
_upsample_nearest_exact2d.default _upsample_nearest_exact2d.vec
_upsample_nearest_exact3d.default _upsample_nearest_exact3d.vec _weight_norm.default
_weight_norm_interface.default abs.default absolute.default acos.default acosh.default
adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default
adaptive_max_pool1d.default adaptive_max_pool2d.default adaptive_max_pool3d.default add.Scalar
add.Tensor addbmm.default addcdiv.default addcmul.default addmm.default addmm.dtype
addmv.default addr.default adjoint.default alias.default alias_copy.default all.default all.dim
all.dims amax.default amin.default aminmax.default angle.default any.default any.dim any.dims
arange.default arange.start arange.start_step arccos.default arccosh.default arcsin.default
arcsinh.default arctan.default arctan2.default arctanh.default argmax.default argmin.default
argsort.default argsort.stable argwhere.default as_strided.default as_strided_copy.default
as_strided_scatter.default asin.default asinh.default atan.default atan2.default atanh.default
atleast_1d.Sequence atleast_1d.default atleast_2d.Sequence atleast_2d.default
atleast_3d.Sequence atleast_3d.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
baddbmm.default baddbmm.dtype batch_norm.default bilinear.default bincount.default
bitwise_and.Scalar bitwise_and.Scalar_Tensor bitwise_and.Tensor
bitwise_left_shift.Scalar_Tensor bitwise_left_shift.Tensor bitwise_left_shift.Tensor_Scalar
bitwise_not.default bitwise_or.Scalar bitwise_or.Scalar_Tensor bitwise_or.Tensor
bitwise_right_shift.Scalar_Tensor bitwise_right_shift.Tensor bitwise_right_shift.Tensor_Scalar
bitwise_xor.Scalar bitwise_xor.Scalar_Tensor bitwise_xor.Tensor block_diag.default bmm.default
bmm.dtype broadcast_to.default bucketize.Scalar bucketize.Tensor cartesian_prod.default
cat.default cdist.default ceil.default celu.default chain_matmul.default
channel_shuffle.default cholesky.default cholesky_inverse.default cholesky_solve.default
chunk.default clamp.Tensor clamp.default clamp_max.Tensor clamp_max.default clamp_min.Tensor
clamp_min.default clip.Tensor clip.default clone.default col2im.default column_stack.default
combinations.default complex.default concat.default concatenate.default conj.default
conj_physical.default constant_pad_nd.default contiguous.default conv1d.default conv1d.padding
conv2d.default conv2d.padding conv3d.default conv3d.padding conv_transpose1d.default
conv_transpose2d.input conv_transpose3d.input convolution.default copy.default copysign.Scalar
copysign.Tensor corrcoef.default cos.default cosh.default cosine_similarity.default
count_nonzero.default count_nonzero.dim_IntList cov.default cross.default cummax.default
cummin.default cumprod.default cumsum.default deg2rad.default det.default detach.default
detach_copy.default diag.default diag_embed.default diagonal.default diagonal_copy.default
diagonal_scatter.default diff.default digamma.default dist.default div.Scalar div.Scalar_mode
div.Tensor div.Tensor_mode divide.Scalar divide.Scalar_mode divide.Tensor divide.Tensor_mode
dot.default dropout.default dstack.default einsum.default einsum.sublist elu.default
embedding.default embedding_bag.default embedding_bag.padding_idx empty.memory_format
empty_like.default empty_permuted.default empty_strided.default eq.Scalar eq.Tensor
equal.default erf.default erfc.default erfinv.default exp.default exp2.default expand.default
expand_as.default expand_copy.default expm1.default eye.default eye.m fft_fft.default
fft_fft2.default fft_fftfreq.default fft_fftn.default fft_fftshift.default fft_ifft.default
fft_ifft2.default fft_ifftn.default fft_ifftshift.default fft_irfft.default fft_irfft2.default
fft_irfftn.default fft_rfft.default fft_rfft2.default fft_rfftfreq.default fft_rfftn.default
fill.Scalar fill.Tensor fix.default flatten.using_ints flip.default fliplr.default
flipud.default float_power.Scalar float_power.Tensor_Scalar float_power.Tensor_Tensor
floor.default floor_divide.Scalar floor_divide.default fmax.default fmin.default fmod.Scalar
fmod.Tensor frac.default fractional_max_pool2d.default fractional_max_pool3d.default
frexp.Tensor full.default full_like.default gather.default gcd.default ge.Scalar ge.Tensor
gelu.default geqrf.default ger.default glu.default greater.Scalar greater.Tensor
greater_equal.Scalar greater_equal.Tensor grid_sampler.default grid_sampler_2d.default
grid_sampler_3d.default group_norm.default gru.data gru.input gru_cell.default gt.Scalar
gt.Tensor hamming_window.default hamming_window.periodic hamming_window.periodic_alpha
hamming_window.periodic_alpha_beta hann_window.default hann_window.periodic hardshrink.default
hardsigmoid.default hardswish.default hardtanh.default heaviside.default histc.default
histogram.bin_ct histogram.bins_tensor hstack.default huber_loss.default hypot.default
i0.default igamma.default igammac.default im2col.default imag.default index.Tensor
index_add.default index_copy.default index_fill.int_Scalar index_fill.int_Tensor
index_put.default index_reduce.default index_select.default inner.default instance_norm.default
inverse.default isclose.default isfinite.default isin.Scalar_Tensor isin.Tensor_Scalar
isin.Tensor_Tensor isinf.default isnan.default isneginf.default isposinf.default istft.default
item.default kron.default kthvalue.default layer_norm.default lcm.default ldexp.Tensor
le.Scalar le.Tensor leaky_relu.default lerp.Scalar lerp.Tensor less.Scalar less.Tensor
less_equal.Scalar less_equal.Tensor lgamma.default lift.default lift_fresh.default
lift_fresh_copy.default linalg_cholesky.default linalg_cholesky_ex.default linalg_cross.default
linalg_det.default linalg_eig.default linalg_eigvals.default linalg_householder_product.default
linalg_inv.default linalg_inv_ex.default linalg_ldl_factor_ex.default linalg_ldl_solve.default
linalg_lstsq.default linalg_lu.default linalg_lu_factor_ex.default linalg_lu_solve.default
linalg_matmul.default linalg_matrix_exp.default linalg_matrix_norm.default
linalg_matrix_norm.str_ord linalg_matrix_power.default linalg_matrix_rank.atol_rtol_float
linalg_matrix_rank.atol_rtol_tensor linalg_matrix_rank.default linalg_matrix_rank.tol_tensor
linalg_multi_dot.default linalg_norm.default linalg_norm.ord_str linalg_pinv.atol_rtol_float
linalg_pinv.atol_rtol_tensor linalg_pinv.default linalg_pinv.rcond_tensor linalg_qr.default
linalg_solve_triangular.default linalg_vecdot.default linalg_vector_norm.default linear.default
linspace.Scalar_Tensor linspace.Tensor_Scalar linspace.Tensor_Tensor linspace.default
log.default log10.default log1p.default log2.default log_sigmoid.default
log_sigmoid_forward.default log_softmax.int logaddexp.default logaddexp2.default
logcumsumexp.default logical_and.default logical_not.default logical_or.default
logical_xor.default logit.default logspace.Scalar_Tensor logspace.Tensor_Scalar
logspace.Tensor_Tensor logspace.default logsumexp.default lstm.data lstm.input
lstm_cell.default lt.Scalar lt.Tensor lu_unpack.default mH.a mH.default mT.a mT.default
masked_fill.Scalar masked_fill.Tensor masked_scatter.default masked_select.default
matmul.default matrix_H.a matrix_H.default matrix_exp.default matrix_power.default max.default
max.dim max.other max_pool1d.default max_pool1d_with_indices.default max_pool2d.default
max_pool2d_with_indices.default max_pool3d.default max_pool3d_with_indices.default
max_unpool2d.default maximum.default mean.default mean.dim median.default median.dim
meshgrid.default meshgrid.indexing min.default min.dim min.other minimum.default mish.default
mm.default mm.dtype mode.default moveaxis.int moveaxis.intlist movedim.int movedim.intlist
mse_loss.default msort.default mul.Scalar mul.Tensor multiply.Scalar multiply.Tensor mv.default
nan_to_num.default nanmean.default nanmedian.default nanmedian.dim nanquantile.default
nanquantile.scalar nansum.default narrow.Tensor narrow.default narrow_copy.default
native_batch_norm.default native_dropout.default native_group_norm.default
native_layer_norm.default ne.Scalar ne.Tensor neg.default negative.default new_empty.default
new_empty_strided.default new_full.default new_ones.default new_zeros.default nextafter.default
nonzero.default nonzero_numpy.default nonzero_static.default norm.Scalar norm.ScalarOpt_dim
norm.ScalarOpt_dim_dtype norm.ScalarOpt_dtype not_equal.Scalar not_equal.Tensor numpy_T.a
numpy_T.default one_hot.default ones.default ones_like.default ormqr.default outer.default
pad.default pairwise_distance.default permute.default permute_copy.default pinverse.default
pixel_shuffle.default pixel_unshuffle.default polar.default polygamma.default positive.default
pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prelu.default prod.default prod.dim_int
put.default quantile.default quantile.scalar rad2deg.default ravel.default real.default
reciprocal.default reflection_pad1d.default reflection_pad2d.default reflection_pad3d.default
relu.default relu6.default remainder.Scalar remainder.Scalar_Tensor remainder.Tensor
renorm.default repeat.default repeat_interleave.Tensor repeat_interleave.self_Tensor
repeat_interleave.self_int replication_pad1d.default replication_pad2d.default
replication_pad3d.default reshape.default reshape_as.default resolve_conj.default
resolve_neg.default rms_norm.default rnn_relu.data rnn_relu.input rnn_tanh.data rnn_tanh.input
roll.default rot90.default round.decimals round.default rsqrt.default rsub.Scalar rsub.Tensor
scalar_tensor.default scaled_dot_product_attention.default scatter.reduce scatter.src
scatter.value scatter.value_reduce scatter_add.default scatter_reduce.two searchsorted.Scalar
searchsorted.Tensor segment_reduce.default select.int select_copy.int select_scatter.default
selu.default sgn.default sigmoid.default sign.default signbit.default silu.default sin.default
sinc.default sinh.default slice.Tensor slice_copy.Tensor slice_scatter.default
smooth_l1_loss.default softmax.int softplus.default softshrink.default sort.default sort.stable
special_airy_ai.default special_bessel_j0.default special_bessel_j1.default
special_bessel_y0.default special_bessel_y1.default special_chebyshev_polynomial_t.default
special_chebyshev_polynomial_t.n_scalar special_chebyshev_polynomial_t.x_scalar
special_chebyshev_polynomial_u.default special_chebyshev_polynomial_u.n_scalar
special_chebyshev_polynomial_u.x_scalar special_chebyshev_polynomial_v.default
special_chebyshev_polynomial_v.n_scalar special_chebyshev_polynomial_v.x_scalar
special_chebyshev_polynomial_w.default special_chebyshev_polynomial_w.n_scalar
special_chebyshev_polynomial_w.x_scalar special_digamma.default special_entr.default
special_erf.default special_erfc.default special_erfcx.default special_erfinv.default
special_exp2.default special_expit.default special_expm1.default special_gammaln.default
special_hermite_polynomial_h.default special_hermite_polynomial_h.n_scalar
special_hermite_polynomial_h.x_scalar special_hermite_polynomial_he.default
special_hermite_polynomial_he.n_scalar special_hermite_polynomial_he.x_scalar
special_i0.default special_i0e.default special_i1.default special_i1e.default
special_laguerre_polynomial_l.default special_laguerre_polynomial_l.n_scalar
special_laguerre_polynomial_l.x_scalar special_legendre_polynomial_p.default
special_legendre_polynomial_p.n_scalar special_legendre_polynomial_p.x_scalar
special_log1p.default special_log_ndtr.default special_log_softmax.default
special_logit.default special_logsumexp.default special_modified_bessel_i0.default
special_modified_bessel_i1.default special_modified_bessel_k0.default
special_modified_bessel_k1.default special_ndtr.default special_ndtri.default
special_polygamma.default special_psi.default special_round.default
special_scaled_modified_bessel_k0.default special_scaled_modified_bessel_k1.default
special_shifted_chebyshev_polynomial_t.default special_shifted_chebyshev_polynomial_t.n_scalar
special_shifted_chebyshev_polynomial_t.x_scalar special_shifted_chebyshev_polynomial_u.default
special_shifted_chebyshev_polynomial_u.n_scalar special_shifted_chebyshev_polynomial_u.x_scalar
special_shifted_chebyshev_polynomial_v.default special_shifted_chebyshev_polynomial_v.n_scalar
special_shifted_chebyshev_polynomial_v.x_scalar special_shifted_chebyshev_polynomial_w.default
special_shifted_chebyshev_polynomial_w.n_scalar special_shifted_chebyshev_polynomial_w.x_scalar
special_sinc.default special_softmax.default special_spherical_bessel_j0.default
special_xlog1py.default special_xlog1py.other_scalar special_xlog1py.self_scalar
special_xlogy.default special_xlogy.other_scalar special_xlogy.self_scalar special_zeta.default
special_zeta.other_scalar special_zeta.self_scalar split.Tensor split.default split.sizes
split_copy.Tensor split_with_sizes.default split_with_sizes_copy.default sqrt.default
square.default squeeze.default squeeze.dim squeeze.dims squeeze_copy.default squeeze_copy.dim
squeeze_copy.dims stack.default std.correction std.default std.dim std_mean.correction
std_mean.default std_mean.dim stft.center stft.default sub.Scalar sub.Tensor subtract.Scalar
subtract.Tensor sum.default sum.dim_IntList sum_to_size.default swapaxes.default
swapdims.default sym_numel.default sym_size.default sym_size.int sym_storage_offset.default
sym_stride.default sym_stride.int t.default t_copy.default take.default take_along_dim.default
tan.default tanh.default tensor_split.indices tensor_split.sections
tensor_split.tensor_indices_or_sections tensordot.default threshold.default tile.default
to.device to.dtype to.dtype_layout to.other topk.default trace.default transpose.int
transpose_copy.int triangular_solve.default tril.default tril_indices.default triu.default
triu_indices.default true_divide.Scalar true_divide.Tensor trunc.default type_as.default
unbind.int unbind_copy.int unflatten.int unfold.default unfold_copy.default
unique_consecutive.default unique_dim.default unsafe_chunk.default unsafe_split.Tensor
unsafe_split_with_sizes.default unsqueeze.default unsqueeze_copy.default
upsample_bicubic2d.default upsample_bicubic2d.vec upsample_bilinear2d.default
upsample_bilinear2d.vec upsample_linear1d.default upsample_linear1d.vec
upsample_nearest1d.default upsample_nearest1d.vec upsample_nearest2d.default
upsample_nearest2d.vec upsample_nearest3d.default upsample_nearest3d.vec
upsample_trilinear3d.default upsample_trilinear3d.vec vander.default var.correction var.default
var.dim var_mean.correction var_mean.default var_mean.dim vdot.default view.default view.dtype
view_as.default view_as_complex.default view_as_complex_copy.default view_as_real.default
view_as_real_copy.default view_copy.default view_copy.dtype vstack.default where.Scalar
where.ScalarOther where.ScalarSelf where.default where.self xlogy.Scalar_Other
xlogy.Scalar_Self xlogy.Tensor zeros.default zeros_like.default
"""

ALLOWED: frozenset[str] = frozenset(f"aten.{name}" for name in _ATEN.split())
"""Overloads by torch's full name, such as `aten.add.Tensor`."""

UNINITIALIZED = frozenset(name for name in ALLOWED if "empty" in name)
"""Operators that return uninitialized memory; the interpreter fills it with zeros."""
