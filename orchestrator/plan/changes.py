"""What changed between two identities of a task, for people: `file checkpoints/w.pt: other content`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.plan.differences import ABSENT, Difference, differences
from orchestrator.plan.inputs import now

SHOWN = 3
"""So many changes are told in a line; the others are counted."""
_SKETCH = 60
_MADE = "what "


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Each field in which the identities differ, what was read first."""
    a, b = dict(before), dict(after)
    inputs, others = a.pop("inputs", {}), b.pop("inputs", {})
    found = []
    if not isinstance(inputs, Mapping) or not isinstance(others, Mapping):
        return [
            field(one) for one in differences(before, after)
        ]  # What was read is not known any more.
    for kind, tell in _KINDS.items():
        of_a, of_b = _flat(kind, inputs), _flat(kind, others)
        # A name that only one side has read tells nothing by itself: another file made it look there.
        found += [
            tell(name, of_a[name], of_b[name])
            for name in sorted(of_a.keys() & of_b.keys())
            if of_a[name] != of_b[name]
        ]
    return list(dict.fromkeys([*found, *(field(one) for one in differences(a, b))]))


def field(one: Difference) -> str:
    """A difference outside of `inputs`. Long values and digests are not spelled out."""
    upstream = re.match(r"upstream(?:\.|\[')([^.'\]]+)", one.path)
    if upstream:
        return f"{_MADE}{upstream[1]} made"
    file = re.match(r"spec\.content\.files(?:\['|\.)(.+?)(?:'\])?$", one.path)
    if file:
        return _file(file[1], _present(one.a), _present(one.b))
    if str(one.a).startswith("sha256:") or str(one.b).startswith("sha256:"):
        return f"{one.path}: other content"
    return f"{one.path}: {_sketch(one.a)} -> {_sketch(one.b)}"


def follows(change: str) -> bool:
    """Whether a change is only that a task before this one has made something else."""
    return change.startswith(_MADE)


def told(found: Iterable[str]) -> str:
    """The changes as one line."""
    unique = list(dict.fromkeys(found))
    more = len(unique) - SHOWN
    return "; ".join(unique[:SHOWN]) + (f"; {more} more changes" if more > 0 else "")


def nearest(
    identities: Iterable[Mapping[str, Any]], now_: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> list[str] | None:
    """The changes since the earlier result that differs in the fewest; None if there is no earlier one.

    `now_` gives the identity that the task would have today with the inputs of an earlier one.
    """
    all_changes = [changes(earlier, now_(earlier)) for earlier in identities]
    return min(all_changes, key=len, default=None)


def _flat(kind: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(inputs.get(kind, {}))
    if kind != "imports":
        return found
    return {
        (f"{module} in {folder}" if folder != "." else module): place
        for folder, modules in found.items()
        for module, place in modules.items()
    }


def _file(name: str, before: Any, after: Any) -> str:
    name = name.removeprefix("./")
    if after in (now.ABSENT, None):
        return f"file {name}: gone"
    if before in (now.ABSENT, None):
        return f"file {name}: new"
    return f"file {name}: {after if after == now.UNREADABLE else 'other content'}"


def _present(value: Any) -> Any:
    return None if value == ABSENT else value


def _look(name: str, before: Any, after: Any) -> str:
    if now.ABSENT in (before, after):
        return _file(name, before, after)
    return f"file {name.removeprefix('./')}: {before} -> {after}"


def _module(name: str, before: Any, after: Any) -> str:
    if before is None:
        return f"module {name}: new, {after}"
    return f"module {name}: {before} -> {after}" if after else f"module {name}: gone"


def _variable(name: str, before: Any, after: Any) -> str:
    word = "set" if before is None else "not set" if after is None else "other value"
    return f"environment variable {name}: {word}"


def _distribution(name: str, before: Any, after: Any) -> str:
    if name == "*":
        return "installed distributions: others"
    return f"{name}: {before or 'not installed'} -> {after or 'not installed'}"


_KINDS: Mapping[str, Callable[[str, Any, Any], str]] = {
    "files": _file,
    "folders": lambda name, a, b: f"folder {name.removeprefix('./')}: other names in it",
    "links": lambda name, a, b: f"link {name.removeprefix('./')}: {a} -> {b}",
    "looks": _look,
    "imports": _module,
    "variables": _variable,
    "distributions": _distribution,
}


def _sketch(value: Any) -> str:
    text = value if value == ABSENT else repr(value)
    return text if len(text) <= _SKETCH else f"{text[: _SKETCH - 3]}..."
