"""Every rule for a complex operator, merged.

RULES["mul.Tensor"](values, node) -> Complex | node of a real result | None (call not covered)
"""

from __future__ import annotations

from compiler.lower.complex import math, moves, products
from compiler.lower.complex.table import Rule
from compiler.lower.fourier import c2c, c2r, r2c

RULES: dict[str, Rule] = {
    **moves.RULES,
    **math.RULES,
    **products.RULES,
    "_fft_c2c.default": c2c,
    "_fft_c2r.default": c2r,
    "_fft_r2c.default": r2c,
}
