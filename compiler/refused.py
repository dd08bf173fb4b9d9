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
