"""The options of `torch.compile(..., backend="kiln", options={...})`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from compiler.build.effort import DEFAULT, EFFORTS
from compiler.replace.replacement import Replacement
from enginebundle.format.spec import PRECISIONS, Target

DEFAULT_STORE = "~/.cache/enginekiln"


@dataclass(frozen=True)
class Options:
    """One call's options. Those that a manifest also has are named and defined as there."""

    target: Target | None = None
    """What to build for; None: this machine's GPU. Given with `simulate`, its engines are built too."""
    precision: str = "fp32"
    simulate: bool = False
    """Compute the networks on the CPU instead of running engines: to try a model without a GPU."""
    store: str = DEFAULT_STORE
    """Where engines are kept and looked up: any store, including a farm's."""
    torch_executed_modules: tuple[str, ...] = ()
    torch_executed_ops: tuple[str, ...] = ()
    require_full_compilation: bool = False
    """Raise instead of running anything in torch."""
    min_nodes: int = 3
    replace: tuple[Replacement, ...] = ()
    """Operators' converters and torch functions; replace modules before torch.compile."""
    search_path: tuple[str, ...] = ()
    """Folders searched for the entrypoints of `replace`."""
    growth: int = 8
    """A dynamic size without a maximum may grow to this many times its first value."""
    check: bool = True
    """Compare each graph's first result with torch's; run it in torch if they differ."""
    effort: str = DEFAULT
    """How much work TensorRT puts into an engine; for trt targets."""

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Options:
        """Read options. ValueError names the unknown one, or what a value should be."""
        known = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in (given or {}).items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.5) or sorted(known)
                raise ValueError(f"kiln has no option {name!r}; near: {', '.join(near)}")
            values[name] = _read(name, value, known[name].default)
        made = cls(**values)
        if made.precision not in PRECISIONS:
            raise ValueError(f"precision {made.precision!r}: expected {', '.join(PRECISIONS)}")
        if made.effort not in EFFORTS:
            raise ValueError(f"effort {made.effort!r}: expected {', '.join(EFFORTS)}")
        if made.min_nodes < 1 or made.growth < 1:
            raise ValueError("min_nodes and growth: expected at least 1")
        for one in made.replace:
            if one.kind != "operator":
                raise ValueError(
                    f"replace: {one} can't be swapped once torch.compile has traced the model; "
                    "call compiler.replace.replace_modules(model, ...) before torch.compile, or "
                    "make the function a torch.library.custom_op and replace that operator"
                )
        return made


def _read(name: str, value: Any, default: Any) -> Any:
    if name == "target":
        return value if value is None or isinstance(value, Target) else Target.parse(value)
    if name == "replace":
        return tuple(
            one if isinstance(one, Replacement) else Replacement.from_json(one) for one in value
        )
    if isinstance(default, tuple):
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name}: expected a list of strings, got {value!r}")
        return tuple(value)
    if name == "store":
        return str(value)
    if type(value) is not type(default):
        raise ValueError(f"{name}: expected a {type(default).__name__}, got {value!r}")
    return value
