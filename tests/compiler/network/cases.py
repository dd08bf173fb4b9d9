# ruff: noqa: E501 -- one case a line reads better than one folded over six
"""Small networks, one or more for each layer kind: what the evaluator says is what engines do.

`CASES` are built on any machine; on a GPU they are executed and compared with the evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from compiler.convert.net import Net
from compiler.network.kinds.elementwise import ACTIVATIONS, ELEMENTWISE, UNARY
from compiler.network.kinds.reductions import REDUCE
from compiler.network.network import Network, Tensor

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
I32, I64, BOOL = torch.int32, torch.int64, torch.bool


@dataclass(frozen=True)
class NetworkCase:
    """`write(net, *inputs)` makes the outputs; inputs are (dtype, sizes), None meaning N below."""

    name: str
    write: Callable[..., Tensor | Sequence[Tensor]]
    inputs: tuple[tuple[torch.dtype, tuple[int | None, ...]], ...]
    make: Callable[[torch.Tensor], torch.Tensor] | None = None
    atol: float = 1e-5
    rtol: float = 1e-5

    def __str__(self) -> str:
        return self.name

    def network(self) -> Network:
        net = Net()
        given = [net.input(f"x{i}", d, s) for i, (d, s) in enumerate(self.inputs)]
        result = self.write(net, *given)
        outputs = list(result) if isinstance(result, list | tuple) else [result]
        return net.finish({f"y{i}": t for i, t in enumerate(outputs)}, {})

    def feeds(self, n: int) -> dict[str, torch.Tensor]:
        """Inputs where the dynamic sizes are n, from a fixed seed."""
        generator = torch.Generator().manual_seed(7)
        feeds = {}
        for i, (dtype, sizes) in enumerate(self.inputs):
            shape = [n if s is None else s for s in sizes]
            if dtype == BOOL:
                x = torch.rand(shape, generator=generator) < 0.5
            elif dtype in (I32, I64):
                x = torch.randint(-9, 10, shape, generator=generator, dtype=dtype)
            else:
                x = (torch.randn(shape, generator=generator) * 2).to(dtype)
            feeds[f"x{i}"] = x if self.make is None else self.make(x)
        return feeds


def _turn(net: Net, state: Sequence[Tensor]) -> list[Tensor]:
    """x, y -> y, x / 2 + y * (0, 1/4, 1/2)."""
    x, y = state
    weights = net.constant(torch.arange(3.0) / 4)
    return [y, net.add(net.mul(x, 0.5), net.mul(y, weights))]


def _sum_both_ways(
    net: Net, x: Tensor, y: Tensor, scale: Tensor, backward: bool
) -> tuple[Tensor, ...]:
    """Rows of x from the first and of y from the last, added up; each sum kept, in both orders."""

    def turn(
        inner: Net, rows: Sequence[Tensor], state: Sequence[Tensor], reads: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[tuple[Tensor, bool]]]:
        weights = inner.constant(torch.arange(3.0) + 1)
        total = inner.add(
            inner.mul(state[0], reads[0]), inner.add(rows[0], inner.mul(rows[1], weights))
        )
        return [total], [(total, False), (total, True), (inner.mul(rows[1], 2.0), backward)]

    state = net.full([net.size(x, 1), 3], 0.5, F32)
    count = net.tensor(net.size(x, 0), torch.int64)
    last, kept = net.scan([(x, False), (y, True)], count, [state], [scale], turn)
    return (*last, *kept)


def _cases() -> list[NetworkCase]:
    cases: list[NetworkCase] = []

    def add(name: str, write: Callable[..., object], *inputs: tuple[torch.dtype, tuple[int | None, ...]],
            make: Callable[[torch.Tensor], torch.Tensor] | None = None, atol: float = 1e-5,
            rtol: float = 1e-5) -> None:  # fmt: skip
        cases.append(NetworkCase(name, write, inputs, make, atol, rtol))  # type: ignore[arg-type]

    positive = torch.abs
    unit = lambda x: torch.tanh(x) * 0.99  # noqa: E731
    domains = {"LOG": positive, "SQRT": positive, "ACOSH": lambda x: x.abs() + 1.01,
               "ASIN": unit, "ACOS": unit, "ATANH": unit}  # fmt: skip
    for op in UNARY:
        if op == "NOT":
            add("unary.NOT", lambda net, x: net.unary(x, "NOT"), (BOOL, (None, 5)))
            continue
        add(f"unary.{op}", lambda net, x, op=op: net.unary(x, op), (F32, (None, 33)),
            make=domains.get(op), rtol=1e-4, atol=1e-4)  # fmt: skip
    for op in ("ABS", "NEG", "SIGN"):
        add(f"unary.{op}.int64", lambda net, x, op=op: net.unary(x, op), (I64, (None, 5)))
    add("unary.ROUND.halves", lambda net, x: net.unary(x, "ROUND"), (F32, (None, 21)),
        make=lambda x: torch.round(x * 2) / 2)  # fmt: skip
    for op in ACTIVATIONS:
        alpha, beta = {"CLIP": (-1.0, 0.7), "HARD_SIGMOID": (0.2, 0.5), "SELU": (1.67, 1.05),
                       "SOFTPLUS": (0.5, 2.0)}.get(op, (0.3, 0.6))  # fmt: skip
        add(f"activation.{op}", lambda net, x, op=op, a=alpha, b=beta: net.activation(x, op, a, b),
            (F32, (None, 33)), rtol=1e-4)  # fmt: skip
    add("activation.RELU.int32", lambda net, x: net.activation(x, "RELU"), (I32, (None, 5)))
    for op in ELEMENTWISE:
        logical = op in ("AND", "OR", "XOR")
        kinds = [BOOL] if logical else [F32, I64, I32]
        for kind in kinds:
            if op == "POW" and kind != F32:
                continue
            make = (
                positive
                if op == "POW"
                else (lambda x: torch.where(x == 0, x + 3, x))
                if "DIV" in op
                else None
            )
            add(f"elementwise.{op}.{kind}", lambda net, a, b, op=op: net.elementwise(a, b, op),
                (kind, (None, 4, 1)), (kind, (4, 7)), make=make, rtol=1e-4)  # fmt: skip
    add("elementwise.nan", lambda net, a, b: [net.elementwise(a, b, o) for o in ("EQUAL", "LESS", "GREATER")],
        (F32, (None, 6)), (F32, (6,)), make=lambda x: torch.where(x > 1, torch.nan, x))  # fmt: skip
    add("elementwise.max.nan", lambda net, a, b: net.elementwise(a, b, "MAX"),
        (F32, (None, 6)), (F32, (6,)), make=lambda x: torch.where(x > 1, torch.nan, x))  # fmt: skip

    def odd(x: torch.Tensor) -> torch.Tensor:
        special = torch.tensor([torch.nan, torch.inf, -torch.inf, 3e9, -3e9, -0.0])
        return torch.cat([x[:, :-6], special.expand(len(x), 6)], 1)

    for limit in ("MAX", "MIN"):
        add(
            f"reduce.{limit}.nan",
            lambda net, x, op=limit: net.reduce(x, op, [1], True),
            (F32, (None, 9)),
            make=odd,
        )
    add(
        "activation.CLIP.nan",
        lambda net, x: net.activation(x, "CLIP", -1, 1),
        (F32, (None, 9)),
        make=odd,
    )
    add("activation.RELU.nan", lambda net, x: net.activation(x, "RELU"), (F32, (None, 9)), make=odd)
    for target in (I32, I64):
        add(
            f"cast.odd.{target}",
            lambda net, x, t=target: net.cast(x, t),
            (F32, (None, 9)),
            make=odd,
        )
    add(
        "elementwise.equal.bool",
        lambda net, a, b: net.elementwise(a, b, "EQUAL"),
        (BOOL, (None, 6)),
        (BOOL, (6,)),
    )
    for kind in (F32, I64, BOOL):
        add(f"select.{kind}", lambda net, c, a, b: net.select(c, a, b),
            (BOOL, (None, 1)), (kind, (None, 5)), (kind, (5,)))  # fmt: skip
    for source in (F32, I64, I32, BOOL):
        for target in (F32, F16, BF16, I64, I32, BOOL):
            if source != target:
                add(
                    f"cast.{source}.{target}",
                    lambda net, x, t=target: net.cast(x, t),
                    (source, (None, 17)),
                )
    for op in REDUCE:
        for kind in (F32, I64, I32):
            if op == "AVG" and kind != F32:
                continue
            add(f"reduce.{op}.{kind}", lambda net, x, op=op: [net.reduce(x, op, [0, 2], True), net.reduce(x, op, [1], False)],
                (kind, (None, 3, 4)), rtol=1e-4)  # fmt: skip
    for kind, tol in ((F32, 1e-5), (F16, 2e-3), (BF16, 2e-2)):
        add(f"softmax.{kind}", lambda net, x: net.softmax(x, 1), (kind, (None, 9, 2)), atol=tol)
        add(f"matmul.{kind}", lambda net, a, b: net.matmul(a, b, transpose_b=True),
            (kind, (None, 4, 16)), (kind, (5, 16)), atol=tol * 20, rtol=tol)  # fmt: skip
        add(f"normalization.{kind}", lambda net, x, s, b: net.normalization(x, s, b, [2], 1e-5),
            (kind, (None, 3, 32)), (kind, (1, 1, 32)), (kind, (1, 1, 32)), atol=tol * 10)  # fmt: skip
        add(f"attention.{kind}", lambda net, q, k, v: net.attention(q, k, v, None, False),
            (kind, (2, 4, None, 16)), (kind, (2, 2, None, 16)), (kind, (2, 2, None, 16)),
            make=lambda x: x * 0.5, atol=tol * 10)  # fmt: skip
    add(
        "matmul.transpose_a",
        lambda net, a, b: net.matmul(a, b, transpose_a=True),
        (F32, (3, None, 4)),
        (F32, (3, None, 5)),
        atol=1e-4,
    )
    add(
        "matmul.broadcast",
        lambda net, a, b: net.matmul(a, b),
        (F32, (None, 1, 3, 4)),
        (F32, (2, 4, 5)),
        atol=1e-4,
    )
    add("attention.causal", lambda net, q, k, v: net.attention(q, k, v, None, True),
        (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), atol=1e-4)  # fmt: skip
    add("attention.causal.longer_keys", lambda net, q, k, v: net.attention(q, k, v, None, True),
        (F32, (2, 3, None, 8)), (F32, (2, 3, 7, 8)), (F32, (2, 3, 7, 8)), atol=1e-4)  # fmt: skip
    add("attention.float_mask", lambda net, q, k, v, m: net.attention(q, k, v, m, False),
        (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), (F32, (2, 1, None, None)), atol=1e-4)  # fmt: skip
    add("attention.bool_mask", lambda net, q, k, v, m: net.attention(q, k, v, net.elementwise(m, net.scalar(-1, I64), "GREATER"), False),
        (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), (F32, (2, 3, None, 8)), (I64, (2, 1, 1, None)),
        make=lambda x: x if x.dtype != I64 else x.abs().scatter(3, torch.ones_like(x[..., :1]), -5) * 1, atol=1e-4)  # fmt: skip
    add("normalization.groups", lambda net, x, s, b: net.normalization(x, s, b, [2, 3], 1e-5, groups=2),
        (F32, (None, 4, 5, 3)), (F32, (1, 4, 1, 1)), (F32, (1, 4, 1, 1)), atol=1e-4)  # fmt: skip
    add("cumulative", lambda net, x: net.cumulative(x, 1), (F32, (None, 9)))
    add("cumulative.int64", lambda net, x: net.cumulative(x, 1), (I64, (None, 9)))
    distinct = lambda x: x + torch.arange(x.numel()).reshape(x.shape).to(x.dtype) * 1e-3  # noqa: E731
    for op in ("MAX", "MIN"):
        add(
            f"topk.{op}",
            lambda net, x, op=op: net.topk(x, op, 3, 1),
            (F32, (None, 9)),
            make=distinct,
        )
    add(
        "topk.dynamic",
        lambda net, x: net.topk(x, "MAX", net.size(x, 0), 1),
        (F32, (None, 9)),
        make=distinct,
    )
    add(
        "einsum",
        lambda net, a, b: net.einsum([a, b], "bij,bjk->bki"),
        (F32, (None, 3, 4)),
        (F32, (None, 4, 5)),
        atol=1e-4,
    )
    kernel2 = torch.linspace(-1, 1, 6 * 2 * 3 * 3).reshape(6, 2, 3, 3)
    window = {"stride": (2, 1), "pre": (1, 0), "post": (2, 1)}
    add("convolution.2d", lambda net, x: net.convolution(x, net.constant(kernel2), net.constant(torch.ones(6)), dilation=(1, 2), groups=2, **window),
        (F32, (None, 4, 9, 8)), atol=1e-4)  # fmt: skip
    add("convolution.kernel_input", lambda net, x, k: net.convolution(x, k, None, dilation=(1, 1), groups=1, **window),
        (F32, (None, 4, 9, 8)), (F32, (5, 4, 3, 3)), atol=1e-4)  # fmt: skip
    kernel3 = torch.linspace(-1, 1, 2 * 3 * 8).reshape(2, 3, 2, 2, 2)
    add("convolution.3d", lambda net, x: net.convolution(x, net.constant(kernel3), None, stride=(1, 1, 1), pre=(0, 0, 0), post=(0, 0, 0), dilation=(1, 1, 1), groups=1),
        (F32, (None, 3, 4, 5, 6)), atol=1e-4)  # fmt: skip
    up = torch.linspace(-1, 1, 4 * 3 * 3 * 3).reshape(4, 3, 3, 3)
    add("deconvolution", lambda net, x: net.deconvolution(x, net.constant(up), net.constant(torch.ones(6)), stride=(2, 2), pre=(1, 0), post=(0, 1), dilation=(1, 1), groups=2),
        (F32, (None, 4, 5, 6)), atol=1e-4)  # fmt: skip
    pool = {"stride": (2, 2), "pre": (1, 1), "post": (1, 0)}
    for op in ("MAX", "AVERAGE"):
        for ceil in (False, True):
            for exclude in (True, False) if op == "AVERAGE" else (True,):
                add(f"pooling.{op}.ceil={ceil}.exclude={exclude}",
                    lambda net, x, op=op, c=ceil, e=exclude: net.pooling(x, op, (3, 2), ceil=c, exclude_padding=e, **pool),
                    (F32, (None, 3, 8, 7)))  # fmt: skip
    add("pooling.MAX.nan", lambda net, x: net.pooling(x, "MAX", (3, 2), **pool), (F32, (None, 3, 8, 7)),
        make=lambda x: torch.where(x > 1, torch.nan, x))  # fmt: skip
    for mode, coordinates, rounding in (
        ("NEAREST", "ASYMMETRIC", "FLOOR"), ("NEAREST", "HALF_PIXEL", "HALF_DOWN"), ("NEAREST", "HALF_PIXEL", "HALF_UP"),
        ("LINEAR", "HALF_PIXEL", "FLOOR"), ("LINEAR", "ALIGN_CORNERS", "FLOOR"),
        ("CUBIC", "HALF_PIXEL", "FLOOR"), ("CUBIC", "ALIGN_CORNERS", "FLOOR"),
    ):  # fmt: skip
        add(f"resize.{mode}.{coordinates}.{rounding}",
            lambda net, x, m=mode, c=coordinates, r=rounding: net.resize(x, [net.size(x, 0), 2, 7, 9], mode=m, coordinates=c, rounding=r),
            (F32, (None, 2, 4, 5)), atol=1e-4)  # fmt: skip
        add(f"resize.scales.{mode}.{coordinates}.{rounding}",
            lambda net, x, m=mode, c=coordinates, r=rounding: net.resize(x, [net.size(x, 0), 2, 6, 12], mode=m, coordinates=c, rounding=r, scales=(1.0, 1.0, 1.5, 2.4)),
            (F32, (None, 2, 4, 5)), atol=1e-4)  # fmt: skip
    for mode in ("LINEAR", "NEAREST", "CUBIC"):
        for padding in ("FILL", "CLAMP", "REFLECT"):
            for corners in (False, True):
                add(f"grid_sample.{mode}.{padding}.{corners}",
                    lambda net, x, g, m=mode, p=padding, c=corners: net.grid_sample(x, g, mode=m, padding=p, align_corners=c),
                    (F32, (None, 2, 5, 6)), (F32, (None, 3, 4, 2)), make=lambda x: x * 0.41, atol=1e-4)  # fmt: skip
    add("shape", lambda net, x: net.shape(x), (F32, (None, 3)))
    add(
        "reshape.dynamic",
        lambda net, x: net.reshape(x, [net.size(x, 1), net.size(x, 0), 3]),
        (F32, (None, None, 3)),
    )
    add("reshape.infer", lambda net, x: net.reshape(x, [-1, 6]), (F32, (None, 2, 3)))
    add("transpose", lambda net, x: net.transpose(x, [2, 0, 1]), (I64, (None, 2, 3)))
    add("transpose.bool", lambda net, x: net.transpose(x, [1, 0]), (BOOL, (None, 2)))
    add("unsqueeze", lambda net, x: net.unsqueeze(x, [0, 2]), (F32, (None, 3)))
    add("squeeze", lambda net, x: net.squeeze(x, [1]), (F32, (None, 1, 3)))
    add(
        "slice.negative",
        lambda net, x: net.slice(x, [0, 4], [net.size(x, 0), 5], [1, -1]),
        (F32, (None, 5)),
    )
    add(
        "slice.dynamic",
        lambda net, x: net.narrow(x, 1, 1, net.size_op("sub", net.size(x, 1), 1)),
        (F32, (2, None)),
    )
    add("slice.expand", lambda net, x: net.expand(x, [net.size(x, 0), 4, 3]), (F32, (None, 1, 3)))
    for mode in ("WRAP", "CLAMP", "REFLECT", "FILL"):
        add(f"slice.{mode}", lambda net, x, m=mode: net.slice(x, [0, -2], [net.size(x, 0), 9], [1, 1], m, net.scalar(2.5, F32) if m == "FILL" else None),
            (F32, (None, 5)))  # fmt: skip
    add(
        "slice.FILL.int64",
        lambda net, x: net.slice(
            x, [0, -2], [net.size(x, 0), 9], [1, 1], "FILL", net.scalar(7, I64)
        ),
        (I64, (None, 5)),
    )
    for kind in (F32, I64, BOOL):
        add(
            f"concat.{kind}",
            lambda net, a, b: net.concat([a, b], 0),
            (kind, (None, 3)),
            (kind, (2, 3)),
        )
    index = torch.tensor([[0, 2], [1, 1]])
    for kind in (F32, I64, BOOL):
        add(
            f"gather.{kind}",
            lambda net, x: net.gather(x, net.constant(index), 1),
            (kind, (None, 3, 2)),
        )
    elements = torch.tensor([[0, 2, 1, 1]])
    add(
        "gather_elements",
        lambda net, x: net.gather_elements(
            x, net.expand(net.constant(elements), [net.size(x, 0), 4]), 1
        ),
        (F32, (None, 3)),
    )
    add(
        "gather_nd",
        lambda net, x: net.gather_nd(x, net.constant(torch.tensor([[0, 2], [1, 1]]))),
        (F32, (2, 3, None)),
    )
    add(
        "gather_nd.batch",
        lambda net, x: net.gather_nd(x, net.constant(torch.tensor([[[0, 2]], [[1, 1]]])), 1),
        (F32, (2, 3, 4, None)),
    )
    add(
        "scatter_elements",
        lambda net, x: net.scatter_elements(
            x, net.constant(torch.tensor([[1, 0]])), net.constant(torch.tensor([[5.0, 6.0]])), 1
        ),
        (F32, (None, 3)),
    )
    for kind in (F32, I64):
        add(f"scatter_nd.{kind}", lambda net, x, k=kind: net.scatter_nd(x, net.constant(torch.tensor([[1], [0]])), net.constant(torch.tensor([[5, 6], [7, 8]], dtype=k))),
            (kind, (None, 2)))  # fmt: skip
    for kind in (F32, I64, I32):
        add(
            f"linspace.{kind}",
            lambda net, x, k=kind: net.linspace(net.size(x, 0), net.scalar(3, k), net.scalar(2, k)),
            (F32, (None, 2)),
        )
    for count in (1, 4, 300):
        add(
            f"loop.{count}",
            lambda net, x, y, k=count: net.loop(k, [x, y], _turn),
            (F32, (None, 3)),
            (F32, (None, 3)),
        )
    for steps in (1, 4, None):
        add(
            f"scan.{steps}",
            lambda net, x, y, scale: _sum_both_ways(net, x, y, scale, True),
            (F32, (steps, None, 3)),
            (F32, (steps, None, 3)),
            (F32, (1, 3)),
            atol=1e-4,
        )
    add("identity", lambda net, x: x, (F32, (None, 2)))
    return cases


CASES = _cases()
