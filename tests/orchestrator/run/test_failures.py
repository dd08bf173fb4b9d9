"""Failures that will happen again are remembered, and those that may not are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginebundle.format.digest import digest_json
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.run.drive import Farm, drive
from orchestrator.run.executor import LocalExecutor
from orchestrator.run.failures import Failures
from orchestrator.run.schedule import Ended
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt
from orchestrator.worker.outcome import Built, Cached, Failed, Outcome
from tests.orchestrator.worker.test_isolate import BUILDERS

IDENTITY = {"toolchain": "this"}
KEY = digest_json(IDENTITY)
BUILD = Task(
    TaskId("m", "build", Target.parse("rtx:sm_89")), {}, ("m/trace",), Resources(1.0, 100, 60.0)
)
TRACE = Task(TaskId("m", "trace"), {}, (), Resources(1.0, 100, 60.0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def remembered(store: Store, failed: Failed, task: Task = BUILD) -> Failed | None:
    Failures(store, "r1").remember(task, KEY, failed)
    return Failures(store).known(task, IDENTITY)


@pytest.mark.parametrize(
    ("code", "message", "kept"),
    [
        ("builder", "layer 7 has no tactic", True),
        ("accuracy", "off by 3", True),
        ("not_fully_compiled", "aten.sort", True),
        ("error", "KeyError: 'x'", True),
        ("crashed", "died of signal SIGSEGV", True),
        ("timeout", "still running after 60 s", True),
        ("memory", "held more than 100 bytes", True),
        ("error", "OSError: [Errno 28] No space left on device", False),
        ("error", "PermissionError: /data", False),
        ("crashed", "died of signal SIGKILL", False),
        ("memory", "ran out of memory: RuntimeError: CUDA", False),
        ("infra", "the node was lost", False),
        ("no-machine", "no machine here has sm_90", False),
        ("cancelled", "the run was stopped", False),
        ("no_gpu", "no GPU", False),
        ("not_installed", "tensorrt", False),
        ("no-engine", "7 of 7 nodes run in torch", False),
        ("export", "the model's forward branches on a value", True),
        ("raised", "zoo:m raised KeyError: 'x'", True),
        ("unrecorded", "the model's code used subprocess /bin/ls", True),
        ("changed", "w.bin was not the same", False),
        ("raised", "zoo:m raised requests.exceptions.ConnectionError: no route", False),
        ("raised", "zoo:m raised OSError: [Errno 28] No space left on device", False),
        ("import", "no module: FileNotFoundError: /data/w.bin", False),
        ("raised", "zoo:m raised RuntimeError: No CUDA GPUs are available", False),
    ],
)
@pytest.mark.parametrize("step", ["build", "trace"])
def test_what_is_kept(store: Store, step: str, code: str, message: str, kept: bool) -> None:
    task = BUILD if step == "build" else TRACE
    key = None if step == "build" else KEY  # that of what the trace read
    found = remembered(store, Failed(code, message, "the log", key=key), task)
    if kept:
        assert found is not None
        assert (found.code, found.log) == (code, "the log")
        assert found.message.startswith(message)
        assert "--retry-failed tries again" in found.message
    else:
        assert found is None


def test_it_belongs_to_the_key_and_can_be_forgotten(store: Store) -> None:
    assert remembered(store, Failed("builder", "no")) is not None
    assert Failures(store).known(BUILD, {"toolchain": "another"}) is None
    assert Failures(store, forget=True).known(BUILD, IDENTITY) is None


@pytest.mark.parametrize("step", ["publish", "validate", "promote"])
def test_steps_that_look_at_the_machine_or_the_store_are_tried_in_every_run(
    store: Store, step: str
) -> None:
    task = Task(TaskId("m", step), {}, (), BUILD.resources)
    assert remembered(store, Failed("error", "no", key=KEY), task) is None


@pytest.mark.parametrize(("code", "limit"), [("timeout", "timeout"), ("memory", "memory")])
def test_a_higher_limit_is_worth_another_try(store: Store, code: str, limit: str) -> None:
    remembered(store, Failed(code, "more than the limit"))
    for factor, kept in ((0.5, True), (1, True), (2, False)):
        value = getattr(BUILD.resources, limit) * factor
        task = replace(BUILD, resources=replace(BUILD.resources, **{limit: value}))
        assert (Failures(store).known(task, IDENTITY) is not None) == kept


def test_a_lack_of_memory_that_was_only_estimated_is_the_machines(store: Store) -> None:
    """The estimate was doubled up to what that machine had; the next one may have more."""
    task = replace(BUILD, resources=replace(BUILD.resources, guess=True))
    assert remembered(store, Failed("memory", "held more than 100 bytes"), task) is None
    assert remembered(store, Failed("timeout", "still running"), task) is not None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"code": "x"}'])
def test_a_damaged_record_is_none(store: Store, data: bytes) -> None:
    remembered(store, Failed("builder", "no"))
    (path,) = store.list_files("failures")
    store.put_file(path, data)
    assert Failures(store).known(BUILD, IDENTITY) is None


class Executor:
    """Ends every attempt at once; builds fail as told."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.attempts: list[Attempt] = []
        self.ended: list[Ended] = []

    def pools(self, labels: Any) -> Mapping[str | None, Pool]:
        return {label: Pool("any", 4) for label in labels}

    def submit(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        outcome = self.outcome if attempt.step == "build" else Built({}, 1.0)
        self.ended.append(Ended(attempt.id, attempt.number, outcome))

    def wait(self, timeout: float) -> list[Ended]:
        ended, self.ended = self.ended, []
        return ended

    def close(self) -> None:
        pass


def night(store: Store, outcome: Outcome, *, forget: bool = False) -> tuple[int, Outcome]:
    """A run: how many builds it tried, and how the build ended."""
    executor, failures = Executor(outcome), Failures(store, "r", forget)

    def attempt(task: Task, identity: Any, upstream: Any, number: int) -> Attempt:
        return Attempt(
            task.id, number, "r", task.step, {}, upstream, identity, "", 1.0, 100, 60.0
        )  # fmt: skip

    farm = Farm(
        Finder(store, store.result).find, lambda task, upstream: {"id": task.id}, attempt, lambda: executor,
        lambda task, upstream: task, {}, lambda task, upstream, outcome: outcome,
        known=failures.known, remember=failures.remember,
    )  # fmt: skip
    outcomes, _ = drive((TRACE, BUILD), farm)
    if isinstance(outcome, Built) and forget:
        record = {"output": {}, "provenance": {"seconds": 1.0}}
        store.put_result(digest_json({"id": BUILD.id}), record)
    return sum(attempt.step == "build" for attempt in executor.attempts), outcomes[BUILD.id]


@pytest.mark.parametrize(
    ("failed", "tries"), [(Failed("builder", "no tactic"), 1), (Failed("crashed", "SIGSEGV"), 2)]
)
def test_a_known_failure_is_not_built_again_until_it_is_asked_for(
    store: Store, failed: Failed, tries: int
) -> None:
    assert night(store, failed) == (tries, failed)
    count, outcome = night(store, failed)
    assert count == 0
    assert isinstance(outcome, Failed)
    assert outcome.code == failed.code
    assert night(store, failed, forget=True)[0] == tries
    assert night(store, Built({}, 1.0), forget=True)[0] == 1
    assert night(store, failed) == (0, Cached({}, 1.0)), "a result counts more than a failure"


def test_a_failure_of_the_moment_is_tried_every_night(store: Store) -> None:
    for _ in range(2):
        assert night(store, Failed("infra", "the node was lost"))[0] == 3


class Workspace:
    """A folder with a model whose code fails, and runs of the step that uses it."""

    def __init__(self, store: Store, folder: Path, step: str, **more: Any) -> None:
        self.store, self.folder = store, folder
        folder.mkdir()
        source = {"entrypoint": "own:value", "search_path": [str(folder)]}
        spec = {"target": "torch:cpu", "replace": [{"by": "own:value"}], "source": source, **more}
        self.task = Task(TaskId("m", step), spec, (), Resources(1.0, 1 << 30, 60.0))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def tried(self) -> tuple[bool, Failed]:
        """Whether a run tried it, and how it failed."""
        states: list[str] = []
        finder = Finder(self.store, self.store.result)
        failures = Failures(self.store, "r", keys=finder.keys)
        farm = Farm(
            finder.find, lambda task, upstream: {"id": task.id}, self._attempt, lambda: LocalExecutor(1),
            lambda task, upstream: task, {}, lambda task, upstream, outcome: outcome,
            known=failures.known, remember=failures.remember,
            listen=lambda transition: states.append(transition.state),
        )  # fmt: skip
        (outcome,) = drive((self.task,), farm)[0].values()
        assert isinstance(outcome, Failed)
        return "started" in states, outcome

    def _attempt(self, task: Task, identity: Any, upstream: Any, number: int) -> Attempt:
        return Attempt(
            task.id, number, "r", task.step, task.spec, upstream, identity, self.store.uri, 1.0, 1 << 30, 60.0,
            function="reading_steps:read", path=(BUILDERS,),
        )  # fmt: skip


@pytest.mark.parametrize("step", ["build", "trace"])
def test_a_known_failure_of_the_users_code_counts_until_a_file_that_it_read_is_another(
    store: Store, tmp_path: Path, step: str
) -> None:
    ws = Workspace(store, tmp_path / "ws", step)
    ws.write(
        "own.py",
        "from pathlib import Path\n"
        "def value():\n    raise ValueError((Path(__file__).parent / 'w.txt').read_text())\n",
    )

    def tried() -> bool:
        again, failed = ws.tried()
        assert (ws.folder / "w.txt").read_text() in failed.message
        return again

    ws.write("w.txt", "first")
    assert tried()
    assert not tried()
    ws.write("w.txt", "another")
    assert tried()
    ws.write("unread.txt", "another")
    ws.write("w.txt", "first")
    assert not tried()


STARTS = "def value():\n    import subprocess\n    subprocess.run(['true'])\n    raise ValueError('no')\n"


@pytest.mark.parametrize(
    ("more", "code", "again"), [({}, "unrecorded", False), ({"unrecorded": "allow"}, "error", True)]
)
def test_what_came_from_where_no_record_shows_may_be_other_the_next_time(
    store: Store, tmp_path: Path, more: dict[str, str], code: str, again: bool
) -> None:
    """Stopped before anything came, the same will happen again."""
    ws = Workspace(store, tmp_path / "ws", "trace", **more)
    ws.write("own.py", STARTS)
    first, failed = ws.tried()
    assert (first, failed.code) == (True, code)
    assert ws.tried()[0] is again


def test_a_trace_that_dies_is_remembered_with_what_it_read(store: Store, tmp_path: Path) -> None:
    ws = Workspace(store, tmp_path / "ws", "trace")
    ws.write("own.py", "def value():\n    import w, os\n    os.kill(os.getpid(), w.SIGNAL)\n")
    ws.write("w.py", "SIGNAL = 11\n")
    assert ws.tried()[0]
    again, failed = ws.tried()
    assert (again, failed.code) == (False, "crashed")
    ws.write("w.py", "SIGNAL = 6 \n")
    assert ws.tried()[0]


@pytest.mark.parametrize(("run", "kept"), [("r2", False), ("", True)])
@pytest.mark.parametrize("task", [BUILD, TRACE])
def test_a_run_that_tries_again_forgets_and_a_plan_does_not(
    store: Store, run: str, kept: bool, task: Task
) -> None:
    """A result of the second try may be lost one day: the first failure is no news of it."""
    assert remembered(store, replace(Failed("builder", "no"), key=KEY), task)
    assert Failures(store, run, forget=True).known(task, IDENTITY) is None
    assert (Failures(store).known(task, IDENTITY) is not None) == kept
    assert Failures(store, run, forget=True).known(task, IDENTITY) is None, "nor is it there twice"


def test_a_failure_without_what_was_read_is_not_kept(store: Store) -> None:
    """Nobody could tell when it may end otherwise."""
    task = replace(BUILD, spec={"replace": [{"by": "own:value"}]})
    assert remembered(store, Failed("builder", "no"), task) is None
