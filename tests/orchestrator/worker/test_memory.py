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


@pytest.mark.parametrize("gone", [FileNotFoundError, ProcessLookupError])
@pytest.mark.parametrize("what", ["task", "children", "statm", "smaps_rollup"])
def test_what_ends_while_it_is_looked_at_holds_nothing(tree, monkeypatch, gone, what):
    """The kernel tells it in two ways, the second once in thousands of looks: that ended a run."""
    (inner,) = set(memory.family(tree)) - {tree}
    read, listed = memory._read, os.listdir

    def ended(ask, path):
        if path.startswith(f"/proc/{inner}/") and path.endswith(f"/{what}"):
            raise gone(path)
        return ask(path)

    monkeypatch.setattr(memory, "_read", lambda path: ended(read, path))
    monkeypatch.setattr(os, "listdir", lambda path: ended(listed, path))
    assert set(memory.family(tree)) == {tree, inner}
    assert (memory.held(tree, 1 << 40) > 200 << 20) == (what != "statm")
    assert (memory.held(tree, 1) > 200 << 20) == (what != "smaps_rollup")


@pytest.mark.parametrize("gone", [FileNotFoundError, ProcessLookupError])
def test_a_thread_that_ends_hides_no_other_ones_children(tree, monkeypatch, gone):
    """The child was started by another thread than the first: whichever ends, the rest is found."""
    wanted, read = set(memory.family(tree)), memory._read
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["0", *listed(path)])

    def ended(path):
        if "/task/0/" in path:
            raise gone(path)
        return read(path)

    monkeypatch.setattr(memory, "_read", ended)
    assert set(memory.family(tree)) == wanted


def test_a_process_that_has_ended_holds_nothing():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert memory.held(done.pid, 1 << 40) == 0
