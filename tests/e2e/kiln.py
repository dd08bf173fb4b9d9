"""Runs the command as a user does: another process, its exit code, stdout and stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FARM = Path(__file__).resolve().parent / "farm"
LIMIT = 600
"""Seconds for one command; far above what it takes, so that a hang ends."""


def command(*words: str | Path) -> list[str]:
    start = "import sys; from orchestrator.cli import main; sys.exit(main())"
    return [sys.executable, "-c", start, *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    """This process's, with signing keys under `home`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return inherited | {"ENGINEBUNDLE_HOME": str(home), "PYTHONPATH": str(ROOT)}


def kiln(home: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `kiln *words` to its end."""
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
