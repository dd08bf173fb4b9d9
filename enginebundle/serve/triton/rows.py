"""Whether a model answers each row of a batch by itself, so that a server may put requests together.

No shape tells that: a norm over the batch has the same one. So the goldens are asked: cut in two, both halves
answered apart, the answers have to be the golden's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from enginebundle.errors import InputError
from enginebundle.format.variant import Variant
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.compare import compare

if TYPE_CHECKING:
    import torch

    Call = Callable[..., dict[str, torch.Tensor]]


def rows_apart(call: Call, bundle: Bundle, variant: Variant) -> bool | None:
    """None if no golden shows it: none has two rows, or no profile contains a half."""
    import torch

    tolerances, index, shown = dict(variant.tolerances), bundle.index, None
    for golden in index.goldens:
        tensors = bundle.read_tensors(golden.blob)
        inputs = {spec.name: tensors[f"input.{spec.name}"] for spec in index.inputs}
        rows = len(next(iter(inputs.values())))
        if rows < 2:
            continue
        cuts = slice(0, rows // 2), slice(rows // 2, rows)
        try:
            halves = [call(**{n: t[cut].clone() for n, t in inputs.items()}) for cut in cuts]
        except InputError:
            continue
        for spec in index.outputs:
            got = torch.cat([half[spec.name] for half in halves])
            if not compare(got, tensors[f"output.{spec.name}"], tolerances[spec.name]).passed:
                return False
        shown = True
    return shown
