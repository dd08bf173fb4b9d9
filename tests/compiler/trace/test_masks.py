"""Transformer layers of torch.nn with masks, which they ask whether they are causal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compiler.trace.export import trace
from compiler.trace.masks import as_given
from enginebundle.format.spec import Profile, Range, TensorSpec
from tests.compiler.test_dynamic_sizes import compiled

RANGES = (("b", Range(1, 2, 4)), ("t", Range(2, 6, 9)))


def encoder() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def decoder() -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerDecoder(layer, 2).eval()


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = encoder()

    def forward(self, x, mask):
        return self.m(x, mask=mask)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = decoder()

    def forward(self, x, mask):
        return self.m(x, x * 2, tgt_mask=mask, memory_mask=mask)


class OwnMask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = encoder()

    def forward(self, x, mask):
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.m(x, mask=causal) + self.m(x, mask=mask)


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = encoder()

    def forward(self, x, mask):
        return self.m(x, src_key_padding_mask=mask[:1].expand(x.shape[0], -1) > 0.5)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()

    def forward(self, x, mask):
        return self.m(x, x, tgt_mask=mask)


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("kind", [Encoder, Decoder, OwnMask, Padded, Whole])
def test_a_mask_is_applied_as_given(kind: type[nn.Module], static: bool) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    b, t = (2, 6) if static else ("b", "t")
    inputs = (TensorSpec("x", "float32", (b, t, 8)), TensorSpec("mask", "float32", (t, t)))
    profile = Profile("p", () if static else RANGES)
    program = trace(model, inputs, (profile,)).module()
    for rows, steps in ((2, 6),) if static else ((1, 2), (2, 6), (4, 9)):
        x = torch.randn(rows, steps, 8)
        causal = nn.Transformer.generate_square_subsequent_mask(steps)
        for mask in (causal, torch.randn(steps, steps), torch.zeros(steps, steps)):
            want = model(x, mask)  # with gradients, and so by the layers' own equations
            torch.testing.assert_close(program(x=x, mask=mask), want, rtol=1e-4, atol=1e-5)


def test_the_reference_is_the_layer_s_equation() -> None:
    model, x, bias = encoder(), torch.randn(1, 4, 8), torch.randn(4, 4)
    with torch.no_grad(), as_given():
        assert not model(x, mask=bias).isnan().any()


def test_one_engine() -> None:
    built = compiled(encoder(), ("b", "n", 8), ("n", "n"))
    assert [segment.kind for segment in built.segments] == ["engine"]
