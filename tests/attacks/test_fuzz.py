"""The short lane of random attacks; `make attacks` is the long one."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.attacks import fuzz

PROGRAM = "import json; from tests.attacks.fuzz import run; print(json.dumps(run(500, 1)))"


def test_five_hundred_mutants() -> None:
    """In a process of its own: it forks, and has a home and limits of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert set(found["classes"]) == set(fuzz.CLASSES)
    assert sum(found["total"][name] for name in ("refused", "right", "signed")) == 500
    assert found["total"]["signed_again"] >= 250
    assert found["total"]["refused"] >= 250


class Odd:
    """A reference that fails on its own."""

    def __str__(self) -> str:
        raise LookupError("odd")


def test_a_fault_is_seen() -> None:
    """What the lane says of a mutant that raises something else."""
    found = fuzz.outcome(None, Odd(), "name", False)  # type: ignore[arg-type]
    assert found == "raised LookupError: odd"
