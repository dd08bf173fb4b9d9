"""Assertions: reads of a tensor's truth that only decide whether forward raises. Engines have none.

    export_without(export, refusal, model, args, kwargs) -> what `export` makes without them, and
                                                            where they are

An `assert`, or `if (ids < 0).any(): raise ...`, stops torch.export, which can't follow a truth value
out of a tensor. But an engine can't raise, and where an input passes the assertion, no result
depends on it.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import linecache
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch

from compiler.trace.origin import shorten

LOG = logging.getLogger(__name__)

LIMIT = 64
"""The most reads of truth in one forward: trying each one costs a run of the model."""

T = TypeVar("T")
Answer = Callable[[torch.Tensor, FrameType], bool]
Span = tuple[tuple[int, int], tuple[int, int]]
"""From (line, column) to (line, column)."""


@dataclass(frozen=True)
class Site:
    """One place in a program that reads a tensor's truth: an instruction of its code."""

    code: CodeType
    instruction: int

    def __str__(self) -> str:
        line = _span(self.code, self.instruction)[0][0]
        text = linecache.getline(self.code.co_filename, line).strip()
        return f"{shorten(self.code.co_filename)}:{line} in {self.code.co_name}: `{text}`"


@dataclass(frozen=True)
class Truth:
    """One read, and the answer with which forward goes on. `assertion`: the other answer raises."""

    site: Site
    answer: bool
    assertion: bool


def export_without(
    export: Callable[[], T],
    refusal: Exception,
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[T, tuple[str, ...]]:
    """Call `export`, which raised `refusal`, again, with forward's assertions made to pass.

    Other reads of truth still stop it. Raises `refusal` if forward has no assertions, or if its
    reads, or their order, differ between export and an eager run.
    """
    truths = find_truths(lambda: _run_eagerly(model, args, kwargs))
    if not any(truth.assertion for truth in truths):
        raise refusal
    with _answered(truths) as unasked:
        exported = export()
    if unasked:
        raise refusal
    places = tuple(dict.fromkeys(str(truth.site) for truth in truths if truth.assertion))
    for place in places:
        LOG.warning("the engine does not check this assertion: %s", place)
    return exported, places


def find_truths(forward: Callable[[], object]) -> tuple[Truth, ...]:
    """What `forward` reads, in order, with every assertion passed; nothing if it fails even then.

    A read is an assertion if, with the other answer and the same ones before it, forward raises in
    the statement that reads. An assertion that these inputs fail is made to pass as well.
    """
    answers: dict[int, bool] = {}
    run = _run(forward, answers)
    while run.error is not None:
        raisers = run.raisers()
        if not raisers or raisers[-1] in answers or len(run.reads) > LIMIT:
            return ()
        answers[raisers[-1]] = not run.reads[raisers[-1]].answer
        run = _run(forward, answers)
    if len(run.reads) > LIMIT:
        return ()

    def is_assertion(place: int) -> bool:
        read = run.reads[place]
        if place in answers:
            return True
        if not _raising(read.site):
            return False  # saves a run
        other = _run(forward, answers | {place: not read.answer})
        same = [r.site for r in run.reads[: place + 1]] == [
            r.site for r in other.reads[: place + 1]
        ]
        return same and place in other.raisers()

    return tuple(
        Truth(read.site, read.answer, is_assertion(place)) for place, read in enumerate(run.reads)
    )


@dataclass(frozen=True)
class _Read:
    site: Site
    frame: FrameType
    answer: bool


@dataclass(frozen=True)
class _Run:
    reads: tuple[_Read, ...]
    error: Exception | None

    def raisers(self) -> list[int]:
        """The reads whose own statement, in the same call, raised the error that ended the run."""
        trace = self.error.__traceback__ if self.error is not None else None
        if trace is None:
            return []
        while trace.tb_next is not None:
            trace = trace.tb_next
        where = _span(trace.tb_frame.f_code, trace.tb_lasti)
        return [
            place
            for place, read in enumerate(self.reads)
            if read.frame is trace.tb_frame
            and any(_within(where, statement) for statement in _raising(read.site))
        ]


def _run(forward: Callable[[], object], answers: Mapping[int, bool]) -> _Run:
    """Run with some answers given, by their place in the order of reads."""
    reads: list[_Read] = []

    def answer(tensor: torch.Tensor, frame: FrameType) -> bool:
        given = answers.get(len(reads))
        found = _own_truth(tensor) if given is None else given
        reads.append(_Read(Site(frame.f_code, frame.f_lasti), frame, found))
        return found

    error = None
    with _truths_from(answer):
        try:
            forward()
        except Exception as raised:  # noqa: BLE001  the user's forward may raise anything
            error = raised
    return _Run(tuple(reads), error)


def _run_eagerly(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Run forward on copies of everything it may change, so that the next run is the same."""
    inputs = copy.deepcopy((args, dict(kwargs)))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            torch.func.functional_call(model, buffers, *inputs)
    finally:
        for module, saved in attributes:
            vars(module).clear()
            vars(module).update(saved)


@contextmanager
def _answered(truths: tuple[Truth, ...]) -> Iterator[list[Truth]]:
    """While open, assertions read in this order are made to pass. Yields the truths not read yet."""
    left = list(truths)

    def answer(tensor: torch.Tensor, frame: FrameType) -> bool:
        if left and left[0].site == Site(frame.f_code, frame.f_lasti):
            truth = left.pop(0)
            if truth.assertion:
                return truth.answer
        return _own_truth(tensor)

    with _truths_from(answer):
        yield left


_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def _truths_from(answer: Answer) -> Iterator[None]:
    """While open, this thread's `bool(tensor)` is what `answer` gives for the frame that reads it.

    Not a TorchFunctionMode: that does not see the reads inside torch's own functions.
    """
    mine = threading.get_ident()

    def truth(self: torch.Tensor) -> bool:
        if threading.get_ident() != mine:
            return _own_truth(self)
        return answer(self, sys._getframe(1))

    with _ONE_AT_A_TIME:
        torch.Tensor.__bool__ = truth  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            del torch.Tensor.__bool__


def _own_truth(tensor: torch.Tensor) -> bool:
    return torch._C.TensorBase.__bool__(tensor)


@functools.cache
def _raising(site: Site) -> tuple[Span, ...]:
    """The statements that raise on one answer there: an assert, or the `raise` that ends a branch.

    Only a branch with no other way out than its `raise` counts, and only if the test does not also
    store the truth.
    """
    where = _span(site.code, site.instruction)
    for node in _choices(site.code.co_filename):
        if isinstance(node, ast.Assert) and _within(where, _span_of(node)):
            return () if _stored(where, node) else (_span_of(node),)
        # Python 3.11 gives a test's jump the position of the whole statement.
        if isinstance(node, ast.If) and (
            _within(where, _span_of(node.test)) or where == _span_of(node)
        ):
            ends = [b[-1] for b in (node.body, node.orelse) if _only_raises(b)]
            return () if _stored(where, node.test) else tuple(map(_span_of, ends))
    return ()


def _only_raises(branch: list[ast.stmt]) -> bool:
    simple = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign)
    return (
        bool(branch)
        and isinstance(branch[-1], ast.Raise)
        and all(isinstance(statement, simple) for statement in branch[:-1])
    )


def _stored(where: Span, test: ast.AST) -> bool:
    return any(
        isinstance(node, ast.NamedExpr) and _within(where, _span_of(node))
        for node in ast.walk(test)
    )


@functools.cache
def _choices(filename: str) -> tuple[ast.If | ast.Assert, ...]:
    """Every `if` and `assert` in a file; none where there is no source to read."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.If | ast.Assert))


def _span(code: CodeType, instruction: int) -> Span:
    """The source that an instruction was compiled from."""
    (place,) = itertools.islice(code.co_positions(), instruction // 2, instruction // 2 + 1)
    line, end_line, column, end_column = (number or 0 for number in place)
    return (line, column), (end_line, end_column)


def _span_of(node: ast.expr | ast.stmt) -> Span:
    start = (node.lineno, node.col_offset)
    return start, (node.end_lineno or 0, node.end_col_offset or 0)


def _within(inner: Span, outer: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
