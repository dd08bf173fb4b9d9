"""The real tensors that represent complex values, and arithmetic that skips parts known to be zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from compiler.lower.writer import Writer

aten = torch.ops.aten
Part = Any
"""A node or a number; None for an imaginary part that is zero everywhere."""


@dataclass(frozen=True)
class Complex:
    """A complex value as two nodes (or numbers) of real dtype, both with the value's shape."""

    real: Part
    imag: Part = None
    stacked: torch.fx.Node | None = None
    """Both parts in one tensor with a last dimension of 2, if the graph has one."""

    def map(self, function: Callable[[Part], Part]) -> Complex:
        """`function` applied to each part; it must map zeros to zeros."""
        return Complex(function(self.real), None if self.imag is None else function(self.imag))


class Values:
    """Which nodes represent which complex value. `writer` writes before the current node."""

    def __init__(self, weights: Mapping[torch.fx.Node, torch.Tensor]) -> None:
        self.weights = weights
        self.known: dict[torch.fx.Node, Complex] = {}
        self.stacked: dict[Any, Complex] = {}
        """Real tensors with a last dimension of 2 that hold a known value."""
        self.wholes: dict[torch.fx.Node, torch.fx.Node] = {}
        self.matrices: dict[Any, tuple[torch.fx.Node, torch.fx.Node]] = {}
        """Tables of cosines and sines, made by compiler/lower/fourier.py."""
        self.sizes: dict[str, torch.fx.Node] = {}
        """Nodes of dynamic sizes by their expressions, used by compiler/lower/fourier.py."""
        self.writer: Writer

    def call(self, op: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self.writer.call(op, *args, **kwargs)

    def of(self, argument: Any) -> Complex:
        """The parts of a node (complex or real) or of a number."""
        if not isinstance(argument, torch.fx.Node):
            return Complex(argument.real, argument.imag or None)
        if not argument.meta["val"].dtype.is_complex:
            return Complex(argument)
        if argument not in self.known:
            self.known[argument] = self._apart(argument)
        return self.known[argument]

    def _apart(self, node: torch.fx.Node) -> Complex:
        """The parts of a weight, or of a value that torch computes."""
        self.wholes[node] = node
        if node in self.weights:
            tensor = self.weights[node]
            parts = {"real": tensor.real, "imag": tensor.imag}
            made = [self.writer.constant(name, part.clone()) for name, part in parts.items()]
            return Complex(made[0], made[1])
        return self.unstacked(self.call(aten.view_as_real.default, node))

    def unstacked(self, node: torch.fx.Node) -> Complex:
        """The value whose parts are in the last dimension of `node`."""
        if node not in self.stacked:
            last = node.meta["val"].dim() - 1
            parts = [self.call(aten.select.int, node, last, index) for index in (0, 1)]
            self.stacked[node] = Complex(parts[0], parts[1], node)
        return self.stacked[node]

    def stack(self, value: Complex) -> torch.fx.Node:
        """One tensor with a last dimension of 2."""
        if value.stacked is not None:
            return value.stacked
        last = value.real.meta["val"].dim()
        made: torch.fx.Node = self.call(aten.stack.default, [value.real, self.imag(value)], last)
        self.stacked[made] = value
        return made

    def imag(self, value: Complex) -> torch.fx.Node:
        """The imaginary part; zeros if it is None."""
        if value.imag is not None:
            return self._node(value.imag)
        return self._node(self.call(aten.zeros_like.default, value.real))

    @staticmethod
    def _node(part: Part) -> torch.fx.Node:
        assert isinstance(part, torch.fx.Node)
        return part

    def whole(self, node: torch.fx.Node) -> torch.fx.Node:
        """The complex tensor itself, for torch."""
        if node not in self.wholes:
            value = self.known[node]
            self.wholes[node] = self.call(aten.complex.default, value.real, self.imag(value))
        return self.wholes[node]

    def of_dtype(self, value: Complex, node: torch.fx.Node) -> Complex:
        """The value with its parts in the real dtype that corresponds to the node's."""
        if not isinstance(node.meta["val"], torch.Tensor):
            return value
        want = node.meta["val"].dtype.to_real()
        if all(p is None or p.meta["val"].dtype == want for p in (value.real, value.imag)):
            return value
        return value.map(lambda part: self.call(aten._to_copy.default, part, dtype=want))

    # -- arithmetic on parts ---------------------------------------------------------------

    def add(self, a: Part, b: Part) -> Part:
        """a + b of equal or broadcast shapes."""
        if a is None or b is None:
            return b if a is None else a
        if not isinstance(a, torch.fx.Node):
            a, b = b, a
        return self.call(aten.add.Tensor, a, b) if isinstance(a, torch.fx.Node) else a + b

    def sub(self, a: Part, b: Part) -> Part:
        return self.add(a, self.neg(b)) if not _both(a, b) else self.call(aten.sub.Tensor, a, b)

    def neg(self, a: Part) -> Part:
        if a is None:
            return None
        return self.call(aten.neg.default, a) if isinstance(a, torch.fx.Node) else -a

    def mul(self, a: Part, b: Part) -> Part:
        if a is None or b is None:
            return None
        if not isinstance(a, torch.fx.Node):
            a, b = b, a
        return self.call(aten.mul.Tensor, a, b) if isinstance(a, torch.fx.Node) else a * b

    def div(self, a: Part, b: Part) -> Part:
        """a / b; b may be a number where a is a node."""
        if a is None:
            return None
        if not isinstance(a, torch.fx.Node):
            return (
                self.mul(self.call(aten.reciprocal.default, b), a)
                if isinstance(b, torch.fx.Node)
                else a / b
            )
        return self.call(aten.div.Tensor, a, b)

    def wide(self, part: Part, *others: Part) -> Part:
        """A part broadcast to the common shape of it and the others."""
        for other in others:
            if isinstance(other, torch.fx.Node) and not _same_shape(part, other):
                part = self.add(part, self.call(aten.zeros_like.default, other))
        return part

    def product(self, a: Complex, b: Complex, function: Callable[[Part, Part], Part]) -> Complex:
        """`function`, bilinear in its arguments, extended to complex numbers."""

        def of(x: Part, y: Part) -> Part:
            return None if x is None or y is None else function(x, y)

        real = self.sub(of(a.real, b.real), of(a.imag, b.imag))
        return Complex(real, self.add(of(a.real, b.imag), of(a.imag, b.real)))

    def length(self, value: Complex) -> Part:
        """The absolute value."""
        if value.imag is None:
            return self.call(aten.abs.default, value.real)
        return self.call(aten.hypot.default, value.real, value.imag)

    def angle(self, value: Complex) -> Part:
        """The angle from -pi to pi."""
        return self.call(aten.atan2.default, self.imag(value), value.real)

    def turned(self, length: Part, angle: Part) -> Complex:
        """length * exp(i * angle)."""
        if angle is None:
            return Complex(length)
        parts = [self.call(op, angle) for op in (aten.cos.default, aten.sin.default)]
        return Complex(*(self.mul(length, part) for part in parts))


def _both(*parts: Part) -> bool:
    return all(isinstance(part, torch.fx.Node) for part in parts)


def _same_shape(one: Part, other: torch.fx.Node) -> bool:
    return isinstance(one, torch.fx.Node) and one.meta["val"].shape == other.meta["val"].shape
