"""Small strict readers of JSON values. All raise FormatError with what was expected and what was found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, TypeVar

from enginebundle.errors import FormatError
from enginebundle.format.digest import Digest, is_digest, parse_json

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")


def document_of(
    data: bytes, form: str, keys: Iterable[str], limit: int, optional: Iterable[str] = ()
) -> dict[str, Any]:
    """The fields of a document of at most `limit` bytes whose `format` is `form`."""
    if len(data) > limit:
        raise FormatError(f"{form}: {len(data)} bytes, expected at most {limit}")
    value = json_object(data, form)
    if value.get("format") != form:
        raise FormatError(f"expected a document of format {form!r}, got {value.get('format')!r}")
    return fields(value, form, ("format", *keys), optional)


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in a document, with any keys."""
    return mapping(json_value(data, what), what)


def json_value(data: bytes, what: str) -> Any:
    """The JSON in a document."""
    try:
        return parse_json(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON: {error}") from error


def check_canonical(written: bytes, read: bytes, what: str) -> None:
    """FormatError unless a document has the bytes that this package writes for it."""
    if written != read:
        raise FormatError(
            f"{what}: expected canonical JSON (sorted keys and entries, no white space, shortest "
            f"numbers), but its {len(read)} bytes differ from that"
        )


def fields(
    value: Any, what: str, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """An object with all required keys and no others than the optional ones."""
    found = mapping(value, what)
    required, optional = set(required), set(optional)
    missing, unknown = required - found.keys(), found.keys() - required - optional
    if missing or unknown:
        raise FormatError(f"{what}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
    return found


def is_name(name: object) -> TypeGuard[str]:
    """Whether it is a name as `check_name` wants it."""
    return isinstance(name, str) and len(name) <= 200 and bool(_NAME.match(name))


def check_name(name: Any, what: str) -> str:
    """A name that is safe as one path component: letters, digits, `_`, `.`, `-`; no leading `.` or `-`."""
    if not is_name(name):
        raise FormatError(
            f"{what} {name!r}: expected letters, digits, '_', '.' and '-', "
            "starting with a letter, digit or '_'"
        )
    return name


def mapping(value: Any, what: str) -> dict[str, Any]:
    """An object with any keys."""
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected an object, got {type(value).__name__}")
    return value


def array(value: Any, what: str, item: Callable[[Any], T]) -> tuple[T, ...]:
    """A list whose elements are read by `item`."""
    if not isinstance(value, list):
        raise FormatError(f"{what}: expected a list, got {type(value).__name__}")
    return tuple(item(element) for element in value)


def text(value: Any, what: str) -> str:
    """A string."""
    if not isinstance(value, str):
        raise FormatError(f"{what}: expected text, got {type(value).__name__}")
    return value


def number(value: Any, what: str) -> float:
    """A number, int or float as it was written. Not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{what}: expected a number, got {value!r}")
    return value


def flag(value: Any, what: str) -> bool:
    """A bool."""
    if not isinstance(value, bool):
        raise FormatError(f"{what}: expected true or false, got {value!r}")
    return value


def digest(value: Any, what: str) -> Digest:
    """A digest."""
    if not is_digest(value):
        raise FormatError(f"{what}: expected sha256: and 64 hexadecimal digits, got {value!r}")
    return str(value)
