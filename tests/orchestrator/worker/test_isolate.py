import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.worker import isolate
from orchestrator.worker.isolate import Call, Limits
from orchestrator.worker.outcome import Built, Failed

BUILDERS = str(Path(__file__).parents[1] / "builders")
MB = 1 << 20


def run(name, *arguments, tmp_path, timeout=60.0, memory=2 << 30, **more):
    call = Call(f"bad_builders:{name}", arguments, (BUILDERS,))
    limits = Limits(timeout, memory)
    return isolate.run(call, limits, tmp_path / "log", "kiln run m.yaml --only t", **more)


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_result_comes_back_and_no_gpu_is_in_sight(tmp_path):
    outcome = run("add", 2, 3, tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    assert outcome.output == {"sum": 5, "devices": ""}
    assert outcome.seconds > 0


def test_a_step_that_needs_a_gpu_keeps_the_one_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    call = Call("bad_builders:add", (1, 1), (BUILDERS,))
    outcome = isolate.run(call, Limits(gpu=True), tmp_path / "log")
    assert isinstance(outcome, Built)
    assert outcome.output["devices"] == "3"


def test_a_segfault_names_the_signal_and_carries_log_and_command(tmp_path):
    outcome = run("segfault", tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.reproduce) == ("crashed", "kiln run m.yaml --only t")
    assert outcome.message == "the step's process died of signal SIGSEGV"
    assert "about to touch address 0" in outcome.log


@pytest.mark.parametrize("name", ["hang", "hold_the_interpreter"])
def test_a_hang_is_killed_at_its_time_limit(name, tmp_path):
    outcome = run(name, tmp_path=tmp_path, timeout=1.0)
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"
    assert "still running after 1 s and killed" in outcome.message
    assert "timeout" in outcome.message


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("eat", (4000 * MB,)), ("eat_in_grandchildren", (900 * MB, 3)), ("eat_at_once", (8 << 30,))],
)
def test_a_glutton_is_stopped_at_its_memory_cap(name, arguments, tmp_path):
    outcome = run(name, *arguments, tmp_path=tmp_path, memory=400 * MB)
    assert isinstance(outcome, Failed)
    assert outcome.code == "memory"
    assert "allowed; raise" in outcome.message or "MemoryError" in outcome.message


def test_memory_under_the_cap_is_measured_and_left_alone(tmp_path):
    outcome = run("eat", 200 * MB, tmp_path=tmp_path, memory=400 * MB)
    assert isinstance(outcome, Built)
    assert 100 * MB < outcome.peak < 400 * MB


@pytest.mark.parametrize("then_hang", [False, True])
def test_grandchildren_do_not_outlive_the_step(then_hang, tmp_path):
    pids = tmp_path / "pids"
    outcome = run("leave_grandchildren", str(pids), then_hang, tmp_path=tmp_path, timeout=2.0)
    assert isinstance(outcome, Failed if then_hang else Built)
    family = [int(pid) for pid in pids.read_text().split()]
    assert len(family) == 4
    assert not [pid for pid in family if alive(pid)]


@pytest.mark.parametrize("victim", ["caller", "guard"])
def test_all_die_with_a_caller_or_guard_that_is_killed(victim, tmp_path):
    pids = tmp_path / "pids"
    code = (
        "from pathlib import Path; from orchestrator.worker.isolate import Call, Limits, run; "
        f"run(Call('bad_builders:leave_grandchildren', ({str(pids)!r}, True), ({BUILDERS!r},)), "
        f"Limits(), Path({str(tmp_path / 'log')!r}))"
    )
    caller = subprocess.Popen([sys.executable, "-c", code])
    wait_until(pids.exists)
    worker, guard, *grandchildren = map(int, pids.read_text().split())
    os.kill(caller.pid if victim == "caller" else guard, signal.SIGKILL)
    caller.wait()
    wait_until(lambda: not alive(worker))
    wait_until(lambda: not alive(guard))
    if victim == "caller":
        wait_until(lambda: not any(map(alive, grandchildren)))
    for pid in filter(alive, grandchildren):
        os.kill(pid, signal.SIGKILL)


def test_garbage_on_stdout_is_only_log(tmp_path):
    outcome = run("garbage", tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    assert outcome.output == {"fine": True}
    assert b"garbage on stderr" in (tmp_path / "log").read_bytes()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("refuse", "no-export", "model.py:12: `if x.sum() > 0` needs data; use torch.cond"),
        ("fail", "error", "ValueError: expected 3 channels, got 4"),
        ("lose_the_store", "infra", "StoreError: s3://bucket: connection reset"),
        ("find_no_variant", "no-variant", "NoVariantError: needs a GPU of sm_89"),
        ("leave", "error", "the step called exit(7)"),
        ("leave_at_once", "crashed", "the step's process exited with status 9 and no result"),
        ("not_json", "error", "TypeError: Object of type object is not JSON serializable"),
        ("absent", "error", "AttributeError: module 'bad_builders' has no attribute 'absent'"),
    ],
)
def test_an_exception_becomes_a_value(name, code, message, tmp_path):
    outcome = run(name, tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == (code, message)


def test_the_log_tail_ends_with_the_traceback(tmp_path):
    outcome = run("fail", tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert "a line before the error" in outcome.log
    assert outcome.log.rstrip().endswith("got 4")


def test_a_cancelled_step_is_killed(tmp_path):
    pids = tmp_path / "pids"
    outcome = run("leave_grandchildren", str(pids), True, tmp_path=tmp_path, cancelled=pids.exists)
    assert isinstance(outcome, Failed)
    assert outcome.code == "cancelled"
    assert not [pid for pid in pids.read_text().split() if alive(int(pid))]
