"""The user's own code in place of modules, operators and functions.

    replace_modules(model, replacements) -> (model, what was replaced)     before torch.compile
    Replacement(kind, pattern, way, by)

`Replacement` needs no torch; `replace_modules` imports it on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compiler.replace.replacement import Replacement

if TYPE_CHECKING:
    from compiler.replace.apply import replace_modules

__all__ = ["Replacement", "replace_modules"]


def __getattr__(name: str) -> Any:
    if name != "replace_modules":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from compiler.replace.apply import replace_modules

    return replace_modules
