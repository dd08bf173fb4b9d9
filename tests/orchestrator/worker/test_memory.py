"""What a step's processes hold is read from /proc about them alone, however many others there are."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from orchestrator.worker import memory

CODE = "import sys; held = b'x' * {size}; print('ready', flush=True); sys.stdin.read()"
NESTED = (
    "import subprocess, sys, threading\n"
    "def start(): subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=0).wait()\n"
    "threading.Thread(target=start).start()"
)


@pytest.fixture
def tree():
    """A process whose child, started by another thread, holds 200 MB."""
    command = [sys.executable, "-c", NESTED, CODE.format(size=200 << 20)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.stdin.close()


def test_a_family_is_what_psutil_finds(tree):
    wanted = {tree, *(child.pid for child in psutil.Process(tree).children(recursive=True))}
    assert set(memory.family(tree)) == wanted
    assert len(wanted) == 2


def test_what_the_whole_tree_holds_is_counted(tree):
    assert 200 << 20 < memory.held(tree, 1 << 40) < 300 << 20
    assert 200 << 20 < memory.held(tree, 1) < 300 << 20, "above the cap, by its share of each page"


def test_nothing_else_in_proc_is_opened(tree, monkeypatch):
    """The cost of a look does not grow with what else runs."""
    opened = []
    read, listed = memory._read, os.listdir
    monkeypatch.setattr(memory, "_read", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(os, "listdir", lambda path: opened.append(path) or listed(path))
    memory.held(tree, 1 << 40)
    mine = {f"/proc/{pid}/" for pid in memory.family(tree)}
    assert opened
    assert all(any(path.startswith(one) for one in mine) for path in opened)


def test_a_process_that_has_ended_holds_nothing():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert memory.held(done.pid, 1 << 40) == 0
