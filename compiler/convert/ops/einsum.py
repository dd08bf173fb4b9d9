"""Sums of products in torch's notation, by transposes, reshapes and matrix products.

TensorRT's own einsum layer takes no ellipsis, no diagonals and only two operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.convert.idioms.axes import diagonal_of
from compiler.convert.idioms.products import product
from compiler.convert.net import Net
from compiler.convert.registry import NUMBERS, Support, Table
from compiler.network.network import Size, Tensor
from enginebundle.format.graph import Value

TABLE = Table("einsum")


@dataclass(frozen=True)
class Term:
    """A tensor with one label per dimension, each label once."""

    tensor: Tensor
    labels: tuple[str, ...]

    def axis(self, label: str) -> int:
        return self.labels.index(label)


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The labels of each operand and of the result.

    Dims under an ellipsis get numbers, "0" for the last. Without "->" the result has those, followed
    by the letters that occur once, in alphabetical order (capitals first).
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands, widest = [], 0
    for text, rank in zip(left.split(","), ranks, strict=True):
        before, dots, after = text.partition("...")
        hidden = rank - len(before) - len(after) if dots else 0
        widest = max(widest, hidden)
        operands.append((*before, *_numbers(hidden), *after))
    if arrow:
        before, dots, after = right.partition("...")
        return operands, (*before, *(_numbers(widest) if dots else ()), *after)
    letters = [label for labels in operands for label in labels if label.isalpha()]
    once = sorted(label for label in set(letters) if letters.count(label) == 1)
    return operands, (*_numbers(widest), *once)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in reversed(range(count)))


def _check(tensors: Sequence[Value]) -> str | None:
    if any(t.dtype != tensors[0].dtype for t in tensors):
        return f"expected operands of one dtype, got {sorted({t.dtype for t in tensors})}"
    return None


@TABLE.converter("aten.einsum.default", support=Support(dtypes=NUMBERS), check=_check)
def einsum(
    net: Net, equation: str, tensors: Sequence[Tensor], path: Sequence[int] | None
) -> Tensor:
    """Operands are multiplied from left to right; `path`, a cheaper order, is ignored."""
    operands, wanted = parse(equation, [t.ndim for t in tensors])
    terms = [_without_repeats(net, t, labels) for t, labels in zip(tensors, operands, strict=True)]
    result = terms[0]
    for position, term in enumerate(terms[1:], 1):
        needed = {label for later in terms[position + 1 :] for label in later.labels} | {*wanted}
        result = _contract(net, result, term, needed)
    result = _summed(net, result, set(result.labels) - {*wanted})
    return net.transpose(result.tensor, [result.axis(label) for label in wanted])


def _without_repeats(net: Net, x: Tensor, labels: tuple[str, ...]) -> Term:
    """The diagonal over the dims that share a label, as the last dim."""
    while True:
        pairs = [(i, j) for j, b in enumerate(labels) for i, a in enumerate(labels[:j]) if a == b]
        if not pairs:
            return Term(x, labels)
        first, second = pairs[0]
        x = diagonal_of(net, x, 0, first, second)
        kept = tuple(a for i, a in enumerate(labels) if i not in (first, second))
        labels = (*kept, labels[first])


def _summed(net: Net, term: Term, labels: set[str]) -> Term:
    """Summed over labels."""
    axes = [term.axis(label) for label in term.labels if label in labels]
    if not axes:
        return term
    kept = tuple(label for label in term.labels if label not in labels)
    return Term(net.reduce(term.tensor, "SUM", axes, False), kept)


def _contract(net: Net, a: Term, b: Term, needed: set[str]) -> Term:
    """The product of two terms, summed over labels that nothing else needs."""
    a = _summed(net, a, set(a.labels) - needed - {*b.labels})
    b = _summed(net, b, set(b.labels) - needed - {*a.labels})
    # A dim of size one broadcasts against a longer one: sum the longer one, drop the other.
    for label in {*a.labels} & {*b.labels} - needed:
        one, other = (t.tensor.shape[t.axis(label)] == 1 for t in (a, b))
        if one != other:
            a, b = _summed(net, a, {label}), _summed(net, b, {label})
    shared = [label for label in a.labels if label in b.labels]
    inner = [label for label in shared if label not in needed]
    batch = [label for label in shared if label in needed]
    left = [label for label in a.labels if label not in shared]
    right = [label for label in b.labels if label not in shared]
    x = _matrix(net, a, batch, left, inner)
    y = _matrix(net, b, batch, right, inner)
    made = product(net, x, y, transpose_b=True)  # [*batch, left, right]
    if len(left) != 1 or len(right) != 1:
        lead = [net.size(made, i) for i in range(len(batch))]
        made = net.reshape(made, [*lead, *_sizes(net, a, left), *_sizes(net, b, right)])
    return Term(made, (*batch, *left, *right))


def _sizes(net: Net, term: Term, labels: Sequence[str]) -> list[Size]:
    return [net.size(term.tensor, term.axis(label)) for label in labels]


def _matrix(
    net: Net, term: Term, batch: Sequence[str], free: Sequence[str], inner: Sequence[str]
) -> Tensor:  # fmt: skip
    """[*batch, free dims merged, inner dims merged]."""
    order = [*batch, *free, *inner]
    x = net.transpose(term.tensor, [term.axis(label) for label in order])
    if len(free) == 1 and len(inner) == 1:
        return x
    groups = [net.product(_sizes(net, term, free)), net.product(_sizes(net, term, inner))]
    return net.reshape(x, [*_sizes(net, term, batch), *groups])
