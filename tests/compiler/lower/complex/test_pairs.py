"""Complex numbers inside a model run as pairs of real tensors, with eager torch's numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from compiler.lower.fourier import LIMIT
from compiler.program import run
from tests.compiler.convert.whole import Call, check, refusals

Z = torch.view_as_complex
R = torch.view_as_real
fft = torch.fft


def pair(*sizes: int) -> Callable[[int], tuple[torch.Tensor, ...]]:
    """[n, *sizes, 2]."""
    return lambda n: (torch.randn(n, *sizes, 2),)


def two(*sizes: int) -> Callable[[int], tuple[torch.Tensor, ...]]:
    return lambda n: (torch.randn(n, *sizes, 2), torch.randn(n, *sizes, 2))


def real(*sizes: int) -> Callable[[int], tuple[torch.Tensor, ...]]:
    return lambda n: (torch.randn(n, *sizes),)


def of(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`function` of complex tensors, its complex result as a real one."""

    def whole(*inputs: torch.Tensor) -> torch.Tensor:
        result = function(*(Z(x) for x in inputs))
        return R(result) if result.is_complex() else result

    return whole


def of_norms(
    function: Callable[..., torch.Tensor], **arguments: Any
) -> Callable[..., torch.Tensor]:
    """`function` of complex tensors with a norm."""

    def whole(x: torch.Tensor, norm: str) -> torch.Tensor:
        result = function(Z(x), norm=norm, **arguments)
        return R(result) if result.is_complex() else result

    return whole


def rotary(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """As the original Llama code has it."""
    turns = torch.polar(torch.ones_like(angles), angles)[: x.shape[1]]
    pairs = Z(x.float().reshape(*x.shape[:-1], -1, 2))
    return R(pairs * turns.view(1, x.shape[1], 1, -1)).flatten(3).type_as(x)


def written(z: torch.Tensor) -> torch.Tensor:
    result = torch.zeros(z.shape[0], 4, dtype=torch.complex64)
    result[:, 1:3] = z[:, :2] * 2
    result[:, 0] = 1.5
    return result


TABLE = torch.randn(6, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Group:
    """Functions of the same inputs, traced as one model that returns all their results by name."""

    make: Callable[[int], tuple[torch.Tensor, ...]]
    functions: dict[str, Callable[..., torch.Tensor]]
    parameters: tuple[torch.Tensor, ...] = ()
    rtol: float = 1e-4
    atol: float = 1e-4

    def call(self) -> Call:
        def together(*inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: function(*inputs) for name, function in self.functions.items()}

        return Call(together, self.make, self.parameters, rtol=self.rtol, atol=self.atol)


def named(
    name: str, function: Callable[..., torch.Tensor]
) -> dict[str, Callable[..., torch.Tensor]]:
    """`function(*inputs, norm=...)` with each of torch's norms."""

    def of_norm(norm: str) -> Callable[..., torch.Tensor]:
        return lambda *inputs: function(*inputs, norm=norm)

    return {f"{name}_{norm}": of_norm(norm) for norm in ("backward", "ortho", "forward")}


GROUPS = {
    "one": Group(pair(3), {
        "real_and_imag": lambda x: Z(x).real + Z(x).imag * 2,
        "back_and_forth": lambda x: R(Z(x)) + 1,
        "mul_broadcast": of(lambda a: a * a[:, :1] * a.imag),
        "neg_conj": of(lambda a: -a.conj() + a.conj().conj() * a.resolve_conj()),
        "abs_angle_sgn": of(lambda a: a.abs() * a.angle() + torch.sgn(a).real),
        "exp_log_sqrt": of(lambda a: a.exp() + a.log() + a.sqrt()),
        "powers": of(lambda a: a**2 + a**3 + a**0.5),
        "circular": of(lambda a: a.sin() + a.cos() + a.sinh() + a.cosh()),
        "tests": of(lambda a: torch.isnan(a / 0) | torch.isinf(a) | torch.isfinite(a)),
        "norm": of(lambda a: torch.linalg.vector_norm(a, dim=-1)),
        "created": of(lambda a: a + torch.full((3,), 1 - 2j) + torch.ones_like(a) + a.new_zeros(3)),
        "written": of(written),
    }),
    "two": Group(two(3), {
        "add": of(lambda a, b: torch.add(a, b, alpha=2) + 1 + 2j),
        "add_real": of(lambda a, b: a[:, :1] + b.real),
        "sub": of(lambda a, b: a - b * 3 - (1 - a)),
        "mul": of(lambda a, b: a * b * 1j * 2),
        "div": of(lambda a, b: a / b + 1 / a + a / 2 + a / (1 + 2j) + b / a.real),
        "div_large": of(lambda a, b: (a * 1e30) / (b * 1e30)),
        "compare": of(lambda a, b: (a == b) | (a != a.conj()) | (a == 1)),
        "stack": of(lambda a, b: torch.stack([a, b.conj()], 1).unbind(1)[1]),
        "where": of(lambda a, b: torch.where(a.real > 0, a, b.real)),
    }),
    "real": Group(real(3), {
        "angle": lambda x: torch.complex(x, torch.zeros_like(x)).angle(),
        "polar": lambda x: R(torch.polar(x.abs(), x[:, :1])),
        "broadcast": lambda x: R(torch.complex(x, x[0]) + torch.complex(x[0], x)),
        "to_complex": lambda x: R(x.to(torch.complex64) * 1j),
    }),
    "moved": Group(pair(12), {
        "views": of(lambda a: a.view(a.shape[0], 3, 4).permute(1, 0, 2).reshape(3, -1)),
        "squeezes": of(lambda a: a.unsqueeze(0).squeeze(0).mT.flatten(0).unflatten(0, (-1, 3))),
        "parts": of(lambda a: torch.cat([a[:, 1:3] * 2, *a.split(2, 1), a[:, -1:]], 1)),
        "cat_real": of(lambda a: torch.cat([a, a.real, torch.ones(a.shape[0], 1)], 1)),
        "repeat": of(lambda a: a.repeat(1, 2).expand(2, -1, -1).roll(1, -1).flip(0)),
        "index": of(lambda a: a[:, torch.tensor([2, 0])].index_select(1, torch.tensor([1]))),
        "last_of_views": lambda x: R(Z(x)).select(1, 0) + R(Z(x))[..., 1, :],
        "masked": of(lambda a: a.masked_fill(a.imag < 0, 2.0)),
        "pad": of(lambda a: torch.nn.functional.pad(a, (1, 2), value=3.0)),
        "triangles": of(lambda a: a.view(-1, 3, 4).tril() + a.view(-1, 3, 4).triu(1).diagonal(0, 1, 2).sum()),
        "sums": of(lambda a: a.sum(1) + a.mean(-1, keepdim=True) + a.sum() + a.cumsum(1)[:, -1]),
    }),
    "weights": Group(lambda n: (torch.randn(n, 4, 2),), {
        "sliced": lambda x, t: R(Z(x) * t[: x.shape[0]]),
        "indexed": lambda x, t: R(Z(x) * t[torch.tensor([1, 5])].sum(0)),
        "linear": lambda x, t: R(torch.nn.functional.linear(Z(x), t, t[:, 0])),
    }, (TABLE,)),
    "products": Group(two(3, 4), {
        "matmul": of(lambda a, b: a @ b.mH),
        "real_times_complex": of(lambda a, b: a.real.to(torch.complex64) @ b.mT),
        "bmm": of(lambda a, b: torch.bmm(a, b.mT) + torch.baddbmm(a @ b.mT, a, b.mT, beta=2, alpha=3j)),
        "vectors": of(lambda a, b: torch.vdot(a[0, 0], b[1, 1]) + torch.dot(a[0, 0], b[0, 1])
                      + torch.outer(a[0, 0], b[0, 1]) + torch.mv(a[0], b[0, 0]).sum()),
        "einsum": of(lambda a, b: torch.einsum("bik,bjk->bij", a, b)),
    }),
    "transforms": Group(real(4, 6), {
        "static": lambda x: fft.fft(fft.fft(x, dim=-1), dim=-2).real,
        **named("fftn", lambda x, norm: R(fft.fftn(x, dim=(1, -1), norm=norm))),
        "ihfft": lambda x: R(fft.ihfft(x).resolve_conj()),
        "padded": lambda x: R(fft.fft(x, n=9) + fft.fft(x, n=9).conj()),
        "both_sides": lambda x: R(torch.ops.aten._fft_r2c(x, [1], 0, False)),
        "shifted": lambda x: fft.fftshift(fft.fft2(x)).abs(),
        "filter": lambda x: fft.irfft2(fft.rfft2(x, norm="ortho") * TABLE[:4], s=(4, 6), norm="ortho"),
    }),
    "backward": Group(pair(4, 5), {
        "odd": of(lambda a: fft.irfft(a, n=7)),
        "even": of(lambda a: fft.irfft(a, n=6, dim=1)),
        "hfft": of(lambda a: fft.hfft(a)),
        **named("ifft", of_norms(fft.ifft, dim=1)),
    }),
    "dynamic": Group(pair(7, 8), {
        **named("ifft", of_norms(fft.ifft, dim=0)),
        **named("irfft2", of_norms(fft.irfft2, dim=(2, 0))),
        "odd": of(lambda a: fft.irfft(a, n=2 * a.shape[0] - 1, dim=0)),
        "even": of(lambda a: fft.irfft(a, dim=0)),
    }),
    "dynamic_real": Group(lambda n: (torch.randn(8, 4 * n, 6),), {
        "fnet": lambda x: fft.fft(fft.fft(x, dim=-1), dim=-2).real,
        **named("rfft", lambda x, norm: R(fft.rfft2(x, dim=(0, 1), norm=norm))),
    }),
    "lines": Group(real(1), {
        "one_point": lambda x: R(fft.fft(x)),
        "one_dimension": lambda x: R(fft.rfft(x[:, 0])),
        "of_real": lambda x: fft.irfft(torch.cat([x, x], 1).to(torch.complex64)),
    }),
    "sound": Group(real(60), {
        "stft": lambda x: torch.stft(x, 16, 4, window=torch.hann_window(16), return_complex=True).abs(),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_against_eager(name: str) -> None:
    program = check(GROUPS[name].call(), build=True)
    assert "complex64" not in {v.dtype for node in program.graph.nodes for v in node.outputs}


def test_rotary_embeddings_are_one_engine_without_complex_values() -> None:
    angles = torch.outer(torch.arange(9.0), torch.tensor([1.0, 0.1, 0.01]))
    program = check(Call(rotary, lambda n: (torch.randn(2, n, 4, 6),), (angles,)), build=True)
    dtypes = {value.dtype for node in program.graph.nodes for value in node.outputs}
    assert "complex64" not in dtypes | {weight.spec.dtype for weight in program.graph.weights}


def test_half_precision_turns_in_float32() -> None:
    angles = torch.outer(torch.arange(9.0), torch.tensor([1.0, 0.1, 0.01]))
    call = Call(rotary, lambda n: (torch.randn(2, n, 4, 6),), (angles * 100,))
    program = call.program("fp16")
    assert refusals(program) == []
    (x,) = call.inputs(5)
    got = run(program, {"x0": x})["output"]
    torch.testing.assert_close(got, rotary(x, angles * 100), atol=4e-3, rtol=4e-3)


UNHANDLED: dict[str, tuple[Callable[..., Any], str]] = {
    "operator": (lambda x: Z(x).prod(1).abs() + 1, "aten.prod.dim_int"),
    "long transform": (
        lambda x: fft.fft(torch.cat([x] * LIMIT, 1).flatten(1)).real,
        "aten._fft_r2c.default",
    ),
    "output": (lambda x: Z(x) * 2, "aten.complex.default"),
}


@pytest.mark.parametrize("name", UNHANDLED)
def test_what_no_rule_covers_runs_in_torch_with_a_reason(name: str) -> None:
    """The graph still computes what eager torch does, and only the complex calls are refused."""
    function, op = UNHANDLED[name]
    call = Call(function, lambda n: (torch.randn(n, 3, 3, 2),), static=True)
    program = call.program()
    (x,) = call.inputs(3)
    torch.testing.assert_close(run(program, {"x0": x})["output"], function(x), atol=1e-3, rtol=1e-3)
    found = refusals(program)
    assert any(op in reason.detail for reason in found)
    assert {reason.code for reason in found} == {"complex"}
    assert all("real" in reason.detail and reason.remedy for reason in found)


def test_a_table_counts_exactly_at_the_limit() -> None:
    x = torch.randn(1, LIMIT, dtype=torch.float64)
    call = Call(lambda x: R(fft.rfft(x)), lambda n: (x,), static=True)
    got = run(call.program(), {"x0": x})["output"]
    torch.testing.assert_close(got, R(fft.rfft(x)), atol=1e-10, rtol=0)
    assert math.isfinite(float(got.sum()))
