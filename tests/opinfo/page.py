"""docs/operators.md, from the committed results: the same record always gives the same page."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER
from tests.opinfo import record
from tests.opinfo.record import STATES, WHOLE, Group

PATH = Path(__file__).resolve().parents[2] / "docs" / "operators.md"
DTYPES = ("float32", "float16", "int64", "bool")

HEAD = """\
# Operators

Made by `make operators` from `benchmarks/results/opinfo.json`; `make opinfo` makes both anew. Do
not edit.

PyTorch's own operator samples (OpInfo, `op_db`) go through the whole compiler: exported, lowered,
partitioned, converted, the network evaluated on the CPU and compared with eager PyTorch, and the
engine built with TensorRT-RTX for sm_89. `make test` judges a fixed fifth of them and fails where
one is wrong, or was whole in TensorRT and is not any more.

Samples: {how}.

Float32 results may be off by 1e-5 + 1e-4 of their size, and where terms are summed by 1e-6 of the
largest result; half precision by 2e-3, or by as much more as eager PyTorch itself is off from the
same call in float32, or as that moves when the inputs move by one rounding.

| state | means |
|---|---|
| converted | one engine; the operator has a converter of its own |
| decomposed | one engine, of other operators |
| cut | one engine; torch cuts its results to the size that the engine computed, which data decide |
| constant | nothing to compute: the result is an input or does not depend on one |
| torch | something stays in a torch segment; the reason is listed below |
| excluded | nothing an inference engine is asked; the rules are listed below |
| wrong | other numbers than eager PyTorch. There must be none |

torch {torch}, TensorRT-RTX {rtx}, {date}.
"""


EXPLAINED = {
    "nn.functional.conv3d": "as an accumulator in half precision gives: 64 terms with partial sums around 100, "
    "where half's neighbours are 0.06 apart; eager adds in float32",
    "aten.isclose.default-NaN": "eager torch 2.11 raises, so there is nothing to compare with",
}
"""Why results on a GPU differ, by operator or case."""


def text() -> str:
    """The page."""
    found = record.read()
    groups = list(record.groups(found))
    parts = [
        _head(found),
        _counts(groups),
        _core(),
        _table(groups),
        _reasons(groups, "torch", "What stays in torch, and why"),
        _reasons(groups, "wrong", "Wrong"),
        _exclusions(groups),
        _gpu(),
    ]
    return "\n".join(part for part in parts if part)


def _head(found: Mapping[str, Any]) -> str:
    versions = found["versions"]
    dtypes: dict[Any, list[str]] = defaultdict(list)
    for dtype, limit in found["samples_of_an_operator"].items():
        dtypes[limit].append(dtype)
    shares = [
        f"{'all' if limit is None else f'up to {limit}, chosen by hash,'} of each operator for {', '.join(names)}"
        for limit, names in dtypes.items()
    ]
    return HEAD.format(
        how="; ".join(shares), torch=versions["torch"], rtx=versions["tensorrt-rtx-cu13"],
        date=found["date"],
    )  # fmt: skip


def _counts(groups: Iterable[Group]) -> str:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        counts[group.dtype][group.state] += len(group.places)
    lines = ["## Counts", "", f"| dtype | {' | '.join(STATES)} | whole in TensorRT |"]
    lines.append("|---" * (len(STATES) + 2) + "|")
    for dtype in DTYPES:
        have = counts[dtype]
        whole = sum(have[state] for state in WHOLE)
        asked = sum(have.values()) - have["excluded"]
        cells = " | ".join(f"{have[state]:,}" for state in STATES)
        share = f"{whole:,} of {asked:,}: {100 * whole / asked:.1f} %" if asked else ""
        lines.append(f"| {dtype} | {cells} | {share} |")
    strict = ", ".join(
        f"{dtype} {100 * sum(have[s] for s in WHOLE if s != 'cut') / asked:.1f} %"
        for dtype, have in counts.items()
        if (asked := sum(have.values()) - have["excluded"])
    )
    said = (
        f"The last column leaves out what is excluded. With `cut` counted as torch it is {strict}."
    )
    return "\n".join([*lines, "", said, ""])


def _core() -> str:
    """The 193 overloads that torch tags as core, from the registry and the lowering passes."""
    try:
        from tests.compiler.convert.core import core_states
    except ImportError:
        return ""
    states = core_states()
    counts = Counter(state.kind for state in states.values())
    said = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    lines = ["## Core ATen", "", f"{len(states)} overloads are tagged core in torch: {said}.", ""]
    lines += ["| overload | state | how, or why not |", "|---|---|---|"]
    for op, state in states.items():
        if state.kind != "converted":
            why = state.refusal.detail if state.refusal is not None else state.detail
            lines.append(f"| {op} | {state.kind} | {_cell(why)} |")
    return "\n".join([*lines, "", "The others are converted.", ""])


def _table(groups: Iterable[Group]) -> str:
    cells: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for group in groups:
        cells[group.op][group.dtype][group.state] += len(group.places)
    lines = ["## Operator by operator", "", "State and number of samples. Empty: the operator has no "
             "such dtype on the CPU.", "", f"| operator | {' | '.join(DTYPES)} |", "|---" * 5 + "|"]  # fmt: skip
    for op, dtypes in sorted(cells.items()):
        row = " | ".join(_states(dtypes[dtype]) for dtype in DTYPES)
        lines.append(f"| {op} | {row} |")
    return "\n".join([*lines, ""])


def _states(counts: Counter[str]) -> str:
    return ", ".join(f"{state} {counts[state]}" for state in STATES if counts[state])


def _reasons(groups: Iterable[Group], state: str, title: str) -> str:
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        if group.state == state:
            by_reason[group.reason][group.op] += len(group.places)
    if not by_reason:
        return ""
    total = sum(sum(ops.values()) for ops in by_reason.values())
    lines = [f"## {title}", "", f"{total:,} samples of all dtypes.", ""]
    lines += ["| samples | reason | operators |", "|---|---|---|"]
    for reason, ops in sorted(by_reason.items(), key=lambda item: (-sum(item[1].values()), item)):
        lines.append(f"| {sum(ops.values())} | {_cell(reason)} | {', '.join(sorted(ops))} |")
    return "\n".join([*lines, ""])


def _exclusions(groups: Iterable[Group]) -> str:
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        if group.state == "excluded":
            rule = re.sub(r"aten\S* draws", "an operator draws", group.reason)
            by_reason[rule][group.op] += len(group.places)
    lines = ["## What is excluded", "", "| samples | rule | operators |", "|---|---|---|"]
    for rule, ops in sorted(by_reason.items(), key=lambda item: -sum(item[1].values())):
        lines.append(f"| {sum(ops.values())} | {_cell(rule)} | {', '.join(sorted(ops))} |")
    return "\n".join([*lines, ""])


def _gpu() -> str:
    """What real engines gave, where it was run."""
    lines = ["## On a real GPU", ""]
    cases, samples = (FOLDER / f"gpu_{name}.json" for name in ("operators", "opinfo"))
    if cases.exists():
        found = json.loads(cases.read_text())
        lines += [f"Converters' own cases (`benchmarks/gpu_operators.py`, {_where(found)}): "
                  f"{_said(found['states'])}.", ""]  # fmt: skip
        lines += _differing(found["not_agreeing"], "case")
    if samples.exists():
        found = json.loads(samples.read_text())
        lines += [f"Operator samples (`benchmarks/gpu_opinfo.py`, {_where(found)}): "
                  f"the first of the fifths{'' if found['finished'] else ', cut by the time limit'}.", ""]  # fmt: skip
        lines += [f"* {dtype}: {_said(counts)}" for dtype, counts in found["states"].items()]
        beyond = found["engines_beyond_the_bound_of_the_evaluator"]
        lines += ["", *_differing(found["not_agreeing"], "sample")]
        lines += [f"{beyond} engines differ from the CPU evaluator by more than the bound:", ""]
        lines += _unlike_evaluator(found["not_as_evaluated"])
    return "\n".join(lines)


def _where(found: Mapping[str, Any]) -> str:
    versions = found["versions"]
    return (
        f"torch {versions['torch']}, TensorRT-RTX {versions['tensorrt-rtx-cu13']}, {found['date']}"
    )


def _said(states: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {state}" for state, n in sorted(states.items()))


def _differing(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield from (f"| {name} | state | what | why |", "|---|---|---|---|")
        for row in rows:
            what = (
                row.get("reason")
                or row.get("detail")
                or f"{row.get('worst', 0):.3g} times the bound"
            )
            op = row[name].split("/")[0]
            yield f"| {row[name]} | {row['state']} | {_cell(what)} | {EXPLAINED.get(op, 'not known')} |"
        yield ""


def _unlike_evaluator(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Engines that are farther from the evaluator than the bound, in units of it."""
    yield from ("| sample | from the evaluator | from eager | why |", "|---|---|---|---|")
    for row in rows:
        op, dtype, _ = row["sample"].rsplit("/", 2)
        why = EXPLAINED.get(op, "not known")
        if row["state"] == "agrees" and dtype == "float16":
            why = "half precision: the evaluator rounds after each layer, the engine where it likes"
        yield f"| {row['sample']} | {row['from_evaluator']:.3g} | {row['worst']:.3g} | {why} |"
    yield ""


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")[:200]
