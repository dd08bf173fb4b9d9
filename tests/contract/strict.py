"""A TensorRT module made from recorded signatures: it takes exactly the calls that the real one takes.

A call that no overload accepts, an attribute that can't be set and a member that does not exist
raise, as with the real bindings. Nothing is computed: a call returns an object of the declared
class, unless `behaviour` says what it does.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from tests.contract.signatures import Signature, Signatures

Behaviour = Mapping[str, Any]
"""`Class.member` -> what a property holds, or (self, *arguments) -> what a method returns."""

_LIST = re.compile(r"List\[(\w+)\]\Z")
_NUMBERS: Mapping[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,),
}  # fmt: skip
_SIZES = ("Dims", "Permutation", "List[int]")


def module(name: str, found: Signatures, behaviour: Behaviour) -> Any:
    """The module of that name with these classes and enums."""
    made: dict[str, Any] = {"__name__": name, "__version__": "0"}
    for owner, members in found.items():
        values = {m: lines[0] for m, lines in members.items()}
        if members and all(value.isdigit() for value in values.values()):
            kind: Any = enum.IntEnum(
                owner.rpartition(".")[2], {m: int(v) for m, v in values.items()}
            )
        else:
            kind = _class(owner, members, made, behaviour)
        made[owner] = kind
    for owner, kind in made.items():
        outer, dot, inner = owner.partition(".")
        if dot:
            setattr(made[outer], inner, kind)
    whole = ModuleType(name)
    vars(whole).update({owner: kind for owner, kind in made.items() if "." not in owner})
    return whole


def _class(
    owner: str, members: Mapping[str, list[str]], made: Mapping[str, Any], behaviour: Behaviour
) -> type:
    parts: dict[str, Any] = {}
    for member, lines in members.items():
        what = behaviour.get(f"{owner}.{member}")
        if "(self" in lines[0] or lines[0].startswith(f"{member}("):
            parts[member] = _method(owner, member, lines, made, what)
        else:
            parts[member] = _property(owner, member, lines, made, what)

    def assign(self: Any, name: str, value: Any) -> None:
        # A subclass of a TensorRT interface may hold what it likes.
        if type(self).__name__ == owner and name not in members:
            raise AttributeError(f"{owner} has no attribute {name!r}")
        object.__setattr__(self, name, value)

    parts["__setattr__"] = assign
    return type(owner, (), parts)


def _property(
    owner: str, member: str, lines: list[str], made: Mapping[str, Any], what: Any
) -> property:
    types = {line.split()[0]: line for line in lines}

    def get(self: Any) -> Any:
        return self.__dict__.get(f"_{member}", what)

    def put(self: Any, value: Any) -> None:
        wanted = Signature.parse(f"set{types['set'].removeprefix('set ')}").types[-1]
        if not _fits(value, wanted, made):
            raise TypeError(f"{owner}.{member} takes a {wanted}, not {value!r}")
        self.__dict__[f"_{member}"] = value

    return property(get if "get" in types else None, put if "set" in types else None)


def _method(
    owner: str, member: str, lines: list[str], made: Mapping[str, Any], what: Any
) -> Callable[..., Any]:
    overloads = [Signature.parse(line) for line in lines if line.startswith(f"{member}(")]

    def call(self: Any, *given: Any, **named: Any) -> Any:
        for overload in overloads:
            if overload.accepts(len(given), tuple(named)) and _all_fit(
                overload, given, named, made
            ):
                if what is not None:
                    return what(self, *given, **named)
                if overload.result in made and member != "__init__":
                    return object.__new__(made[overload.result])
                return True if overload.result == "bool" else None
        raise TypeError(f"{owner}.{member}: none of {lines} takes {given} {named}")

    call.__doc__ = "\n".join(lines)
    return call


def _all_fit(
    overload: Signature, given: tuple[Any, ...], named: Mapping[str, Any], made: Mapping[str, Any]
) -> bool:
    types = dict(zip(overload.names, overload.types, strict=True))
    bound = dict(zip(overload.names, given, strict=False)) | dict(named)
    return all(_fits(value, types[name], made) for name, value in bound.items())


def _fits(value: Any, wanted: str, made: Mapping[str, Any]) -> bool:
    if wanted in _NUMBERS:
        plain = not isinstance(value, enum.Enum) and (wanted == "bool" or type(value) is not bool)
        return plain and isinstance(value, _NUMBERS[wanted])
    if wanted in _SIZES:
        return isinstance(value, list | tuple) and all(type(item) is int for item in value)
    if inner := _LIST.match(wanted):
        return isinstance(value, list | tuple) and all(_fits(v, inner[1], made) for v in value)
    # Anything else is a type of Python's or NumPy's: buffers, callables, arrays.
    return wanted not in made or isinstance(value, made[wanted])
