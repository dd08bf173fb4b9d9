"""Numbers among a command's options."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {number}")
    return number


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text}")
    return number


def hours(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected hours, at least 0, got {text}")
    return number


def days(text: str) -> float:
    number = float(text)
    if not (number == 0 or 0.001 <= number <= 36_500):
        raise argparse.ArgumentTypeError(f"expected days, 0 or 0.001 to 36500, got {text}")
    return number
