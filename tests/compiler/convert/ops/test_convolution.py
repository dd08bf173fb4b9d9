"""Convolutions against eager torch."""

from __future__ import annotations

from typing import Any

import torch

from tests.compiler.convert.calls import call, x
from tests.compiler.convert.harness import Case, parametrize, run

half = torch.float16


def conv(op: str, *args: Any, name: str = "", **kwargs: Any) -> Case:
    kwargs = {"weights": (1, 2), "atol": 1e-3, "rtol": 1e-4} | kwargs
    return Case(op, call(*args), name=name, **kwargs)


CASES = [
    conv("aten.conv1d.default", x("n", 4, 9), x(6, 4, 3), x(6), [2], [1]),
    conv("aten.conv1d.default", x("n", 4, "2n+1"), x(6, 2, 3), None, [2], [1], [1], 2, name="dynamic"),
    conv("aten.conv1d.default", x(4, 9), x(6, 4, 3), x(6), static=True, name="unbatched"),
    conv("aten.conv2d.default", x("n", 3, 8, 8), x(4, 3, 3, 3), x(4), [1, 1], [1, 1]),
    conv("aten.conv2d.default", x("n", 3, "2n+7", "n+6"), x(4, 3, 3, 2), x(4), [2, 1], [1, 0], [2, 1],
         name="dynamic"),
    conv("aten.conv2d.default", x("n", 4, 8, 8), x(4, 1, 3, 3), None, [1], [1], [1], 4, name="depthwise"),
    conv("aten.conv2d.default", x("n", 3, 8, 8), x(4, 3, 3, 3), x(4), weights=(), name="computed"),
    conv("aten.conv2d.default", x("n", 3, 8, 8), x(4, 3, 3, 3), x(4), weights=(1,), name="bias-computed"),
    conv("aten.conv2d.default", x(3, "n+6", 8), x(4, 3, 3, 3), x(4), name="unbatched"),
    conv("aten.conv2d.default", x("n", 3, 8, 8, dtype=half), x(4, 3, 3, 3, dtype=half), x(4, dtype=half),
         atol=0.1, rtol=1e-2, name="half"),
    conv("aten.conv3d.default", x("n", 2, 4, 5, 6), x(4, 2, 2, 3, 1), x(4), [1, 2, 1], [0, 1, 0]),
    conv("aten.conv1d.padding", x("n", 4, "n+6"), x(6, 4, 4), x(6), [1], "same"),
    conv("aten.conv2d.padding", x("n", 3, 8, 8), x(4, 3, 4, 3), x(4), [1, 1], "same", [1, 2]),
    conv("aten.conv2d.padding", x("n", 3, 8, 8), x(4, 3, 4, 3), x(4), [2, 2], "valid", name="valid"),
    conv("aten.conv3d.padding", x("n", 2, 4, 5, 6), x(4, 2, 2, 3, 1), x(4), [1, 1, 1], "same"),
    conv("aten.conv_transpose1d.default", x("n", 4, "n+2"), x(4, 3, 3), x(3), [2], [1], [1]),
    conv("aten.conv_transpose1d.default", x(4, 5), x(4, 3, 3), x(3), [2], static=True, name="unbatched"),
    conv("aten.conv_transpose2d.input", x("n", 4, 5, 6), x(4, 2, 3, 3), x(4), [2, 2], [1, 1], [0, 1], 2),
    conv("aten.conv_transpose2d.input", x("n", 4, "n+3", 6), x(4, 2, 3, 2), x(2), [3, 2], [0, 0], [2, 1],
         name="beyond"),
    conv("aten.conv_transpose2d.input", x("n", 4, "n+3", 6), x(4, 2, 3, 2), x(2), [3, 2], [0, 0], [2, 1],
         weights=(), name="beyond-computed"),
    conv("aten.conv_transpose2d.input", x("n", 4, 5, 6), x(4, 2, 3, 3), None, [1], [1], [0], 1, [2],
         name="dilated"),
    *[conv("aten.conv_transpose2d.input", x("n", 4, 5, "n+3"), x(4, 2, 3, 3), x(4), [2, 1], [1, 2], [1, 0], 2, [2, 3],
           weights=w, name=f"strided-dilated-{w}") for w in ((1, 2), ())],
    conv("aten.conv_transpose1d.default", x("n", 4, 6), x(4, 3, 3), None, [2], [1], [0], 1, [2], weights=(1,),
         name="strided-dilated"),
    conv("aten.conv_transpose3d.input", x("n", 2, 3, 4, 5), x(2, 3, 2, 2, 3), x(3), [2, 1, 2]),
    conv("aten.convolution.default", x("n", 3, 8, 8), x(4, 3, 3, 3), x(4), [1, 1], [1, 1], [1, 1], False,
         [0, 0], 1),
    conv("aten.convolution.default", x("n", 3, 8), x(4, 3, 3), None, [1], [1], [1], False, [0], 1, name="1d"),
    conv("aten.convolution.default", x("n", 4, 5, 6), x(4, 2, 3, 3), x(2), [2, 2], [1, 1], [1, 1], True,
         [1, 0], 1, name="transposed"),
    conv("aten._convolution.default", x("n", 3, 8, 8), x(4, 3, 3, 3), x(4), [1, 1], [1, 1], [1, 1], False,
         [0, 0], 1, False, False, True, True),
    Case("aten.conv2d.default", call(x("n", 3, 8, 8), x(4, 3, "n", 3)), refused=("argument", "kernel")),
]  # fmt: skip


@parametrize(CASES)
def test_against_eager(case: Case) -> None:
    run(case)
