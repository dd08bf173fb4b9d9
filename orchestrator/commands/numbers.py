"""Numbers on the command line, as `argparse` takes them."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A count."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {number}")
    return number


def seconds(text: str) -> float:
    """A time to wait."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text}")
    return number


def hours(text: str) -> float:
    """A time that may be none."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected hours, at least 0, got {text}")
    return number


def days(text: str) -> float:
    """A lifetime; 0 is for ever."""
    number = float(text)
    if not (number == 0 or 0.001 <= number <= 36_500):
        raise argparse.ArgumentTypeError(f"expected days, 0 or 0.001 to 36500, got {text}")
    return number
