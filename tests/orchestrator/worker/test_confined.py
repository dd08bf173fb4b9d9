"""What a step can't do to the others, to the store, or to whoever watches it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest

from enginebundle.format.digest import digest_bytes, digest_json
from enginebundle.storage.store import Store
from orchestrator.worker import isolate
from orchestrator.worker.isolate import Call, Limits
from orchestrator.worker.outcome import Built, Failed

BUILDERS = str(Path(__file__).parents[1] / "builders")
KEY = digest_bytes(b"somebody else's task")


def run(name, *arguments, tmp_path, step="trace", **more):
    call = Call(f"careless_builders:{name}", arguments, (BUILDERS,), step)
    return isolate.run(call, Limits(60.0, 2 << 30), tmp_path / "log", **more)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_step_works_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    outcome = run("delete_the_working_directory", tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    assert (tmp_path / "store").is_dir()
    assert not Path(outcome.output["deleted"]).is_relative_to(tmp_path)
    assert not os.path.exists(outcome.output["deleted"])


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_reply_that_is_found_lying_around_is_none(everywhere, tmp_path):
    outcome = run("forge", everywhere, tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == (
        "crashed", "the step's process exited with status 0 and no result",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null"])
def test_an_output_that_is_no_object_is_a_crash(text, tmp_path):
    outcome = run("reply_with", text, tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.code == "crashed"


def test_output_without_end_leaves_its_beginning_and_its_end(tmp_path):
    outcome = run("print_much", 200, tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    log = (tmp_path / "log").read_bytes()
    assert len(log) < 2 << 20
    assert log.startswith(b"the first line\n")
    assert log.endswith(b"the last line\n")
    assert b"bytes left out" in log


@pytest.mark.parametrize("guards", [1, 2])
def test_descendants_in_other_sessions_die_though_guards_were_killed(guards, tmp_path):
    pids = tmp_path / "pids"
    outcome = run("kill_guards", str(pids), guards, tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert "SIGKILL" in outcome.message
    plain, bare, step = json.loads(pids.read_text())
    mine = [plain, step] if guards == 2 else [plain, bare, step]
    end = time.monotonic() + 10
    while any(map(alive, mine)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [pid for pid in (plain, bare, step) if alive(pid)]
    for pid in left:
        os.kill(pid, 9)
    assert not set(left) & set(mine)


def test_credentials_are_neither_in_the_environment_nor_on_disk(tmp_path, monkeypatch):
    secrets = {
        "AWS_SECRET_ACCESS_KEY": "s1", "AWS_ACCESS_KEY_ID": "s2", "RAY_AUTH_TOKEN": "s3", "HF_TOKEN": "s4",
        "DATABASE_PASSWORD": "s5", "http_proxy": "http://me:s6@proxy:1", "GOOGLE_APPLICATION_CREDENTIALS": "s7",
        "OPENAI_API_KEY": "s8", "SOME_KEY": "s9",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MODEL_WIDTH", "12")
    monkeypatch.setenv("WANDB_API_KEY", "let through")
    monkeypatch.setenv("KILN_STEP_ENV", "WANDB_API_KEY, OTHER")
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(home / "keys"))
    keys = [home / "keys" / "key.pem", home / "keys" / "keys" / "old.pem"]
    hidden = [*keys, home / ".aws" / "credentials", tmp_path / "token"]
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(hidden[-1]))
    open_ = home / "keys" / "trusted.pub"
    for file in (*hidden, open_):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
    outcome = run("look_around", [str(file) for file in (*hidden, open_)], tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    seen = outcome.output["environment"]
    assert not secrets.keys() & seen.keys()
    assert seen["MODEL_WIDTH"] == "12"
    assert seen["WANDB_API_KEY"] == "let through"
    assert outcome.output["files"][str(open_)] == "content"
    if "not hidden" in (tmp_path / "log").read_text():
        pytest.skip("no mount namespace may be made here")
    assert "content" not in [outcome.output["files"][str(file)] for file in hidden]


def test_a_step_can_leave_blobs_but_not_decide_what_is_published(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    call = Call(
        "careless_builders:put", ("trace", {"key": KEY}, {}, store.uri), (BUILDERS,), "trace"
    )
    outcome = isolate.run(call, Limits(60.0, 2 << 30), tmp_path / "log", store=store)
    assert isinstance(outcome, Built), outcome
    assert outcome.output["back"]
    assert store.read_blob(outcome.output["blob"]) == b"made by a step" * 1000
    assert store.read_blob(outcome.output["empty"]) == b""
    refused = outcome.output["refused"]
    assert refused.keys() == {
        "result of a task", "another's result", "a file of a run", "a lease", "an alias", "a version", "evidence",
        "a lie", "out of the store", "an engine", "a timing cache",
    }  # fmt: skip
    assert store.result(KEY) is None
    assert store.list_files("runs") == []
    assert store.names() == []


def test_a_build_may_record_engines_and_timings(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    for own in ("engine", "build"):
        call = Call(
            "careless_builders:put",
            ("build", {"key": KEY, "own": own}, {}, store.uri),
            (BUILDERS,),
            "build",
        )
        outcome = isolate.run(call, Limits(60.0, 2 << 30), tmp_path / "log", store=store)
        assert isinstance(outcome, Built)
        assert ("an engine" in outcome.output["refused"]) == (own == "build")
        assert "result of a task" in outcome.output["refused"]
        assert "another's result" in outcome.output["refused"]
    assert store.result(digest_json({"step": "engine", "n": 1}))
    assert store.timing(KEY)[0] == 1


def test_a_step_can_not_damage_the_store(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    digest = store.put_blob(b"x")
    outcome = run("damage", store.uri, tmp_path=tmp_path, store=store)
    assert isinstance(outcome, Built)
    if "not hidden" in (tmp_path / "log").read_text():
        pytest.skip("no mount namespace may be made here")
    assert store.read_blob(digest) == b"x"


def test_somebody_elses_exception_with_a_code_is_no_refusal(tmp_path):
    outcome = run("foreign_code", tmp_path=tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == ("error", "QuotaError: 429 from a web service")


def test_the_users_own_path_comes_before_what_is_installed(tmp_path, monkeypatch):
    """An override of an installed package, given as a relative path."""
    (tmp_path / "mine" / "tqdm").mkdir(parents=True)
    (tmp_path / "mine" / "tqdm" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["mine", os.environ.get("PYTHONPATH", "")]))
    outcome = run("which", "tqdm", tmp_path=tmp_path)
    assert isinstance(outcome, Built)
    assert outcome.output["file"] == str(tmp_path / "mine" / "tqdm" / "__init__.py")
