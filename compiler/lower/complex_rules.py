"""Every rule for a complex operator, merged.

RULES["mul.Tensor"](values, node) -> Complex | node of a real result | None (not this call)
"""

from __future__ import annotations

from compiler.lower import complex_math, complex_moves, complex_products
from compiler.lower.complex_table import Rule
from compiler.lower.fourier import c2c, c2r, r2c

RULES: dict[str, Rule] = {
    **complex_moves.RULES,
    **complex_math.RULES,
    **complex_products.RULES,
    "_fft_c2c.default": c2c,
    "_fft_c2r.default": c2r,
    "_fft_r2c.default": r2c,
}
