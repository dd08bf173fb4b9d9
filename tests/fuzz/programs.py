"""Small random programs of PyTorch operators, for combinations that no table of cases has.

    program(seed) -> RandomProgram      with one torch version, the same seed gives the same program

Values stay finite and moderate, and no operator is discontinuous (no rounding, no positions read from
a sort of nearly equal keys), so that every correct computation gives nearly the same result.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from tests.fuzz.functions import (
    add_one_of,
    blend,
    distances,
    inverse,
    largest,
    minus_shifted,
    outer,
    product_of_transposed,
    ratio,
    rows,
    softlog,
    times_one_of,
    times_other_steps,
)

SIZES = (1, 2, 2, 3, 4, 5, 8)
LARGEST = 4096
"""The most elements of one value."""
DYNAMIC = (2, 3, 5)
"""The first size of every input, if it is dynamic: minimum, optimum, maximum."""


@dataclass(frozen=True)
class RandomProgram:
    """`module` takes tensors of `shapes`, in order. If `dynamic`, their first size may be any of
    DYNAMIC; `shapes` has the optimum.
    """

    seed: int
    module: torch.fx.GraphModule
    shapes: tuple[tuple[int, ...], ...]
    dynamic: bool

    def inputs(self, first: int | None = None) -> list[torch.Tensor]:
        """Normally distributed float32 inputs; `first` replaces each first size."""
        generator = torch.Generator().manual_seed(self.seed)
        shapes = [(first, *s[1:]) if first is not None else s for s in self.shapes]
        return [torch.randn(s, generator=generator) for s in shapes]

    @property
    def id(self) -> str:
        return f"program/{self.seed}"

    @property
    def text(self) -> str:
        """The program as Python."""
        return "\n".join(line for line in self.module.code.splitlines() if line.strip())


def program(seed: int, steps: int = 8) -> RandomProgram:
    """One to three inputs and up to `steps` operators; every value that nothing reads is a result."""
    rng = random.Random(seed)
    dynamic = rng.random() < 0.3
    rank = rng.choice((2, 3, 3, 4, 4, 5) if not dynamic else (2, 3, 4))
    writer = _Writer(rng, dynamic)
    base = tuple(rng.choice(SIZES) for _ in range(rank))
    if dynamic:
        base = (DYNAMIC[1], *base[1:])
    shapes = []
    for index in range(rng.choice((1, 1, 2, 3))):
        alike = index == 0 or rng.random() < 0.6
        shape = base if alike else tuple(n if rng.random() < 0.7 else 1 for n in base)
        shapes.append((base[0], *shape[1:]) if dynamic else shape)
    found = RandomProgram(seed, torch.fx.GraphModule({}, torch.fx.Graph()), tuple(shapes), dynamic)
    for index, tensor in enumerate(found.inputs()):
        writer.values.append((writer.graph.placeholder(f"x{index}"), tensor))
    for _ in range(rng.randint(2, steps)):
        writer.step()
    return RandomProgram(seed, writer.finish(), tuple(shapes), dynamic)


@dataclass(frozen=True)
class Seeds:
    """A range of programs, by number."""

    first: int
    count: int
    done: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"program/{self.first}"

    def todo(self) -> list[RandomProgram]:
        made = map(program, range(self.first, self.first + self.count))
        return [one for one in made if one.id not in self.done]


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Writer:
    """Appends operators one by one, and keeps each value's numbers at one size."""

    def __init__(self, rng: random.Random, dynamic: bool) -> None:
        self.rng, self.dynamic = rng, dynamic
        self.graph = torch.fx.Graph()
        self.values: list[tuple[torch.fx.Node, torch.Tensor]] = []

    def step(self) -> None:
        """Append one more operator, if the one drawn fits."""
        node, x = self.pick()
        if not x.ndim:
            return  # read only beside other values, never alone
        function, args, kwargs = self.rng.choice(STEPS)(self, node, x)
        tensors = dict(self.values)
        given = torch.fx.node.map_arg(args, lambda n: tensors[n])
        try:
            made = function(*given, **kwargs)
        except (RuntimeError, IndexError, ValueError):
            return
        if not 0 < made.numel() <= LARGEST or made.ndim > 6 or not made.isfinite().all():
            return
        if made.abs().max() > 1e3:
            return
        self.values.append((self.graph.call_function(function, args, kwargs), made))

    def finish(self) -> torch.fx.GraphModule:
        unread = [node for node, _ in self.values if node.op != "placeholder" and not node.users]
        self.graph.output(tuple(unread) or (self.values[0][0],))
        return torch.fx.GraphModule({}, self.graph)

    def pick(self) -> tuple[torch.fx.Node, torch.Tensor]:
        """A value, more likely a recent one."""
        return self.values[-1 - min(int(self.rng.expovariate(0.8)), len(self.values) - 1)]

    def axis(self, x: torch.Tensor) -> int:
        return self.rng.randrange(x.ndim) - self.rng.choice((0, x.ndim))

    def axes(self, x: torch.Tensor) -> list[int]:
        return sorted(self.rng.sample(range(x.ndim), self.rng.randint(1, x.ndim)))


UNARY = (
    torch.tanh, torch.sigmoid, torch.relu, torch.neg, torch.abs, torch.sin, torch.erf, torch.square,
    F.gelu, F.silu, F.softplus, F.elu, F.hardtanh, softlog, inverse, torch.atan, torch.exp,
)  # fmt: skip
BINARY = (torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, ratio)
REDUCE = (torch.sum, torch.mean, torch.amax, torch.amin, torch.logsumexp, distances)


def _unary(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return w.rng.choice(UNARY), (node,), {}


def _binary(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    other = w.pick()[0] if w.rng.random() < 0.8 else w.rng.choice((0.5, -2.0, 3.0))
    function = w.rng.choice(BINARY if not isinstance(other, float) else BINARY[:3])
    return function, (node, other), {}


def _choose(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return blend, (node, w.pick()[0], w.pick()[0]), {}


def _reduce(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    keep = w.rng.random() < 0.5
    return w.rng.choice(REDUCE), (node, w.axes(x), keep), {}


def _spread(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return torch.var, (node, w.axes(x)), {"correction": 0, "keepdim": w.rng.random() < 0.5}


def _normalize(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    function = w.rng.choice((F.softmax, F.log_softmax, F.normalize))
    axis = w.axis(x)
    return function, (node, 2.0, axis) if function is F.normalize else (node, axis), {}


def _layer_norm(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    start = w.rng.randint(1 if w.dynamic else 0, max(x.ndim - 1, 1))
    return F.layer_norm, (node, list(x.shape[start:])), {"eps": 1e-2}


def _scan(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return torch.cumsum, (node, w.axis(x)), {}


def _sorted(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return largest, (node, w.axis(x), w.rng.random() < 0.5), {}


def _matmul(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return w.rng.choice((torch.matmul, product_of_transposed)), (node, w.pick()[0]), {}


def _permute(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return torch.permute, (node, w.rng.sample(range(x.ndim), x.ndim)), {}


def _flatten(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    start = w.rng.randrange(x.ndim)
    return torch.flatten, (node, start, w.rng.randint(start, max(x.ndim - 1, start))), {}


def _unflatten(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    axis = w.rng.randrange(x.ndim)
    size = x.shape[axis]
    divisor = w.rng.choice([d for d in range(1, size + 1) if size % d == 0])
    return torch.unflatten, (node, axis, (-1, divisor)), {}


def _squeeze(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    function = w.rng.choice((torch.squeeze, torch.unsqueeze))
    return function, (node, w.axis(x)), {}


def _join(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    others = [other for other, t in w.values if t.shape == x.shape]
    given = [w.rng.choice(others) for _ in range(w.rng.choice((1, 1, 2)))]
    return w.rng.choice((torch.cat, torch.stack)), ([node, *given], w.axis(x)), {}


def _cut(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    axis = w.axis(x)
    size = x.shape[axis]
    start = w.rng.randrange(size)
    return torch.narrow, (node, axis, start, w.rng.randint(1, size - start)), {}


def _turn(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    if w.rng.random() < 0.5:
        return torch.flip, (node, w.axes(x)), {}
    return torch.roll, (node, w.rng.choice((1, -1, 2)), w.axis(x)), {}


def _pad(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    around = [w.rng.choice((0, 1, 2)) for _ in range(2 * w.rng.choice((1, 2)))]
    return F.pad, (node, around), {"value": w.rng.choice((0.0, 1.0))}


def _pool(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    function = w.rng.choice((F.avg_pool2d, F.max_pool2d))
    return function, (node, 2), {"stride": w.rng.choice((1, 2)), "padding": w.rng.choice((0, 1))}


def _convolve(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    return F.conv2d, (node, w.pick()[0]), {"padding": w.rng.choice((0, 1))}


def _expand(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    sizes = [w.rng.choice((2, 3)) if n == 1 and w.rng.random() < 0.7 else -1 for n in x.shape]
    return torch.Tensor.expand, (node, sizes), {}


def _pick_rows(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    axis = w.axis(x)
    size = x.shape[axis]
    size = min(size, DYNAMIC[0]) if w.dynamic else size
    return rows, (node, axis, [w.rng.randrange(size) for _ in range(w.rng.randint(1, 4))]), {}


def _beside_part(w: _Writer, node: Any, x: torch.Tensor) -> Call:
    function = w.rng.choice((add_one_of, times_one_of, outer, times_other_steps, minus_shifted))
    axis = w.axis(x)
    place = 0 if w.dynamic else w.rng.choice((0, 0, x.shape[axis] // 2))
    return function, (node, axis, place), {}


STEPS: tuple[Callable[[_Writer, Any, torch.Tensor], Call], ...] = (
    _unary, _unary, _unary, _binary, _binary, _binary, _choose, _reduce, _reduce, _reduce, _spread,
    _normalize, _normalize, _layer_norm, _scan, _sorted, _matmul, _matmul, _permute, _permute,
    _flatten, _unflatten, _squeeze, _join, _cut, _turn, _pad, _pool, _convolve, _expand, _pick_rows,
    _beside_part, _beside_part,
)  # fmt: skip
