"""What the compiler raises when it can't compile a user's model: a code, a message and a remedy."""

from __future__ import annotations


class Refused(Exception):
    """Base of the compiler's typed refusals.

    `code` is a stable word for programs, `message` says what was expected and what was found, and
    `remedy` what the user can do. All three are positional, so that instances can be pickled from
    one process to another.
    """

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(code, message, remedy)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]\nRemedy: {self.remedy}"


def first_lines(error: BaseException, limit: int = 3) -> str:
    """The type and the first non-empty lines of an exception's text, on one line."""
    text = str(error).partition("\nThe error above occurred")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = "; ".join(lines[:limit])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def with_causes(error: BaseException, most: int = 4) -> str:
    """`first_lines` of an exception and of those that led to it, the last one first.

    What a library raises `from` another error often says only that something failed, not what.
    """
    told, seen = [first_lines(error)], [error]
    while len(told) < most:
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
        if error is None or error in seen:
            break
        seen.append(error)
        if (text := first_lines(error)) not in told:
            told.append(text)
    return ", caused by ".join(told)
