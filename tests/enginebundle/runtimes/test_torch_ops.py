"""The allow-list of operators, checked against torch's own schemas."""

from __future__ import annotations

import torch

from enginebundle.runtimes.torch_ops import ALLOWED


def test_every_allowed_operator_is_functional() -> None:
    for name in sorted(ALLOWED):
        _, packet, overload = name.split(".")
        schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
        assert not schema.is_mutable, name
        assert not any(a.alias_info and a.alias_info.is_write for a in schema.arguments), name
        assert "Generator" not in str(schema), name
        assert not any(word in name for word in ("file", "rand", "bernoulli", "multinomial")), name
