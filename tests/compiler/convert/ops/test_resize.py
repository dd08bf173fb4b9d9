"""Resizing and sampling against eager torch."""

from __future__ import annotations

import torch

from tests.compiler.convert.calls import call, i, x
from tests.compiler.convert.harness import Case, parametrize, run

half = torch.float16
NEAR, EXACT = "aten.upsample_nearest2d", "aten._upsample_nearest_exact2d"
BILINEAR, BICUBIC = "aten.upsample_bilinear2d", "aten.upsample_bicubic2d"
LOOSE = {"atol": 1e-4, "rtol": 1e-4}


def grid(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 4, 2) * 2.6 - 1.3


def volume(n: int) -> torch.Tensor:
    return torch.rand(n, 2, 3, 4, 3) * 5 - 2.5


def volume_of_two(n: int) -> torch.Tensor:
    return torch.rand(2, 2, n, 4, 3) * 5 - 2.5


def half_volume(n: int) -> torch.Tensor:
    return volume(n).half()


CASES = [
    Case(f"{NEAR}.default", call(x("n", 2, 4, 5), [8, 10])),
    Case(f"{NEAR}.default", call(x("n", 2, 7, 9), [21, 4]), name="uneven"),
    Case(f"{NEAR}.default", call(x("n", 2, 7, 9), [15, 13], 2.2, 1.5), name="factors"),
    Case(f"{NEAR}.default", call(x("n", 2, "n+2", 5), [i("3n"), 8]), name="dynamic"),
    Case(f"{NEAR}.default", call(x("n", 2, 4, 5, dtype=half), [8, 10]), name="half"),
    Case(f"{NEAR}.vec", call(x("n", 2, "n+2", "2n"), None, [2.0, 2.0])),
    Case(f"{NEAR}.vec", call(x("n", 2, "n+2", "2n"), None, [3.0, 0.5]), name="fractions"),
    Case(f"{NEAR}.vec", call(x("n", 2, 4, 6), [9, 7], None), name="sizes"),
    Case(f"{NEAR}.vec", call(x("n", 2, "n", 6), None, [1.0123, 2.0]), refused=("argument", "64ths")),
    Case("aten.upsample_nearest1d.default", call(x("n", 2, 5), [10])),
    Case("aten.upsample_nearest1d.vec", call(x("n", 2, 5), None, [1.7])),
    Case("aten.upsample_nearest3d.default", call(x("n", 2, 2, 3, 4), [4, 6, 8])),
    Case("aten.upsample_nearest3d.vec", call(x("n", 2, 2, 3, 4), [5, 7, 6], None)),
    Case(f"{EXACT}.default", call(x("n", 2, 7, 9), [21, 4])),
    Case(f"{EXACT}.vec", call(x("n", 2, "n+2", "2n"), None, [2.0, 0.5])),
    Case("aten._upsample_nearest_exact1d.default", call(x("n", 2, 7), [5])),
    Case("aten._upsample_nearest_exact3d.default", call(x("n", 2, 2, 3, 4), [3, 6, 7])),
    Case(f"{BILINEAR}.default", call(x("n", 2, 4, 5), [8, 11], False), **LOOSE),
    Case(f"{BILINEAR}.default", call(x("n", 2, 8, 9), [3, 4], True), **LOOSE, name="corners"),
    Case(f"{BILINEAR}.default", call(x("n", 2, 8, 9), [1, 4], True), **LOOSE, name="corners-one"),
    Case(f"{BILINEAR}.default", call(x("n", 2, 7, 9), [15, 13], False, 2.2, 1.5), **LOOSE, name="factors"),
    Case(f"{BILINEAR}.default", call(x("n", 2, "n+2", 5), [i("3n"), 8], False), **LOOSE, name="dynamic"),
    Case(f"{BILINEAR}.default", call(x("n", 2, 4, 5, dtype=half), [9, 7], False), atol=2e-2, name="half"),
    Case(f"{BILINEAR}.vec", call(x("n", 2, "n+2", "2n"), None, False, [2.0, 3.0]), **LOOSE),
    Case(f"{BILINEAR}.vec", call(x("n", 2, "2n+1", 6), None, True, [2.0, 2.0]), **LOOSE, name="corners"),
    Case(f"{BILINEAR}.vec", call(x("n", 2, "2n", 6), None, False, [1.5, 1.5]), **LOOSE, name="fractions"),
    Case(f"{BILINEAR}.vec", call(x("n", 2, "2n", 7), None, False, [0.5, 0.3]), **LOOSE, name="shrink"),
    Case("aten.upsample_linear1d.default", call(x("n", 2, 5), [12], False), **LOOSE),
    Case("aten.upsample_linear1d.vec", call(x("n", 2, 5), None, False, [1.7]), **LOOSE),
    Case("aten.upsample_trilinear3d.default", call(x("n", 2, 2, 3, 4), [4, 6, 5], False), **LOOSE),
    Case("aten.upsample_trilinear3d.vec", call(x("n", 2, 2, 3, 4), [4, 6, 5], True, None), **LOOSE),
    Case(f"{BICUBIC}.default", call(x("n", 2, 4, 5), [8, 11], False), **LOOSE),
    Case(f"{BICUBIC}.default", call(x("n", 2, 8, 9), [5, 4], True), **LOOSE, name="corners"),
    Case(f"{BICUBIC}.default", call(x("n", 2, 7, 9), [15, 13], False, 2.2, 1.5), **LOOSE, name="factors"),
    Case(f"{BICUBIC}.vec", call(x("n", 2, "n+2", "2n"), None, False, [2.0, 1.5]), **LOOSE),
    Case("aten._upsample_bilinear2d_aa.default", call(x("n", 2, 8, 9), [3, 5], False), **LOOSE),
    Case("aten._upsample_bicubic2d_aa.default", call(x("n", 2, 8, 9), [3, 5], False), **LOOSE),
    Case("aten._upsample_bilinear2d_aa.vec", call(x("n", 2, 8, 9), None, False, [0.5, 0.4]), **LOOSE),
    Case("aten._upsample_bilinear2d_aa.default", call(x("n", 2, "n", 9), [3, 5], False),
         refused=("argument", "static")),
    *[Case("aten.grid_sampler_2d.default", call(x("n", 2, 5, 6), grid, mode, padding, corners), **LOOSE,
           name=f"{mode}{padding}{corners}")
      for mode in range(3) for padding in range(3) for corners in (False, True)],
    Case("aten.grid_sampler.default", call(x("n", 2, 5, 6), grid, 0, 0, False), **LOOSE),
    *[Case("aten.grid_sampler_3d.default", call(x("n", 2, 4, 5, 6), volume, mode, padding, corners), **LOOSE,
           name=f"{mode}{padding}{corners}")
      for mode in range(2) for padding in range(3) for corners in (False, True)],
    Case("aten.grid_sampler.default", call(x(2, 3, "n", "2n", 4), volume_of_two, 0, 2, False), **LOOSE, name="dynamic"),
    Case("aten.grid_sampler_3d.default", call(x("n", 2, 1, 5, 6), volume, 0, 2, True), **LOOSE, name="flat"),
    Case("aten.grid_sampler_3d.default", call(x("n", 2, 4, 5, 6, dtype=half), half_volume, 0, 0, True), atol=2e-2,
         rtol=1e-2, name="half"),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
