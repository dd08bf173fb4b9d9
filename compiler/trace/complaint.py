"""A promise that an exported program does not keep, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Complaint:
    """A promise of the profiles that the exported program does not keep."""

    code: str
    message: str
    remedy: str
    number: bool = False
    """Whether Python read a size as a number, which Dynamo's reading of the code may avoid."""
