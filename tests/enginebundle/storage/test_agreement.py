"""Agreement over put, get and list: one content wins, whatever the interleaving, crash or late write."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enginebundle.errors import FormatError
from enginebundle.storage.agreement import FOLDER, Note, agree

PATH = "results/ab.json"


class Crash(Exception):
    """The proposer dies here."""


class Memory:
    """Registers in memory. `step` runs before each operation and may crash the caller."""

    def __init__(self, files: dict[str, bytes], step: Callable[[], None]) -> None:
        self.files = files
        self.step = step

    def get(self, path: str) -> bytes | None:
        self.step()
        return self.files.get(path)

    def put(self, path: str, data: bytes) -> None:
        self.step()
        known = self.files.setdefault(path, data)
        assert known == data, f"{path} was rewritten with other content"

    def children(self, folder: str) -> list[str]:
        self.step()
        cut = len(folder) + 1
        return sorted(
            {p[cut:].split("/")[0] for p in list(self.files) if p.startswith(f"{folder}/")}
        )


class Schedule:
    """Lets one thread at a time take one step, in a given order."""

    def __init__(self, proposers: int, order: list[int], crashes: dict[int, int]) -> None:
        self.turns = [threading.Semaphore(0) for _ in range(proposers)]
        self.stopped = [threading.Semaphore(0) for _ in range(proposers)]
        self.alive = [True] * proposers
        self.left = dict(crashes)
        self.order = order

    def stepper(self, me: int) -> Callable[[], None]:
        def step() -> None:
            self.stopped[me].release()
            self.turns[me].acquire()
            if me in self.left:
                self.left[me] -= 1
                if self.left[me] < 0:
                    raise Crash

        return step

    def finish(self, me: int) -> None:
        self.alive[me] = False
        self.stopped[me].release()

    def drive(self) -> None:
        for stopped in self.stopped:
            stopped.acquire()
        # The drawn order first; then in turn, so that contention ends and the live ones finish.
        steps = 0
        pattern = iter(self.order)
        while any(self.alive):
            me = next(pattern, None)
            if me is None:
                me = (steps // 40) % len(self.turns)
            steps += 1
            if self.alive[me]:
                self.turns[me].release()
                self.stopped[me].acquire()


def race(proposers: int, order: list[int], crashes: dict[int, int]) -> list[bytes]:
    schedule = Schedule(proposers, order, crashes)
    files: dict[str, bytes] = {}
    results: list[bytes] = []

    def propose(me: int) -> None:
        registers = Memory(files, schedule.stepper(me))
        try:
            value = b"value %d" % me
            results.append(agree(registers, PATH, value, proposer=f"p{me}", pause=lambda _: None))
        except Crash:
            pass
        finally:
            schedule.finish(me)

    threads = [threading.Thread(target=propose, args=(me,)) for me in range(proposers)]
    for thread in threads:
        thread.start()
    schedule.drive()
    for thread in threads:
        thread.join()
    late = agree(Memory(files, lambda: None), PATH, b"late", proposer="zz")
    return [*results, late]


@settings(max_examples=300, deadline=None)
@given(
    order=st.lists(st.integers(0, 2), max_size=80),
    crashes=st.dictionaries(st.integers(0, 2), st.integers(0, 14), max_size=2),
)
@example(order=[0, 1] * 30, crashes={})
@example(order=[0] * 9 + [1] * 30 + [0] * 9, crashes={})
def test_every_interleaving_ends_in_one_content(order: list[int], crashes: dict[int, int]) -> None:
    results = race(3, order, crashes)
    assert len(set(results)) == 1
    assert len(results) >= 4 - len(crashes)


def test_a_first_writer_is_not_overruled() -> None:
    registers = Memory({}, lambda: None)
    assert agree(registers, PATH, b"first") == b"first"
    assert agree(registers, PATH, b"second") == b"first"
    assert registers.files[PATH] == b"first"


def test_a_value_that_may_have_been_chosen_is_kept() -> None:
    """A proposer died between its last note and the file: the next one finishes its work."""
    died = Note((1, "dead"), (1, "dead"), "chosen")
    registers = Memory({f"{FOLDER}/{PATH}/dead.00000001": died.to_bytes()}, lambda: None)
    assert agree(registers, PATH, b"mine") == b"chosen"


def test_free_running_threads_agree() -> None:
    lock = threading.Lock()
    files: dict[str, bytes] = {}
    results: list[bytes] = []

    def propose(me: int) -> None:
        def step() -> None:
            with lock:
                pass

        value = b"value %d" % me
        pause = threading.Event()
        results.append(
            agree(Memory(files, step), PATH, value, pause=lambda s: bool(pause.wait(s)) or None)
        )

    threads = [threading.Thread(target=propose, args=(me,)) for me in range(8)]
    random.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


def test_a_damaged_note_is_reported() -> None:
    registers = Memory({f"{FOLDER}/{PATH}/x.00000000": b"{}"}, lambda: None)
    with pytest.raises(FormatError, match="agreement note is damaged"):
        agree(registers, PATH, b"mine")
