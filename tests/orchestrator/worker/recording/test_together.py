"""Recorded steps among the worker's other promises: leases, limits, steps that see no secrets."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.worker.attempt import perform
from orchestrator.worker.outcome import Built, Cached, Failed, Outcome
from tests.orchestrator.worker.recording.user import User

SLOW = "def value():\n    import time\n    time.sleep(2)\n    return (HERE / 'w.txt').read_text()\n"
WEIGHTS = "def value():\n    return (HERE / 'w.txt').read_text()\n"


def at_once(*users: User) -> list[Outcome]:
    ended: dict[int, Outcome] = {}

    def work(number: int) -> None:
        attempt = replace(users[number].attempt(), run=f"r{number}")
        ended[number] = perform(attempt)[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(users))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[number] for number in range(len(users))]


def test_two_runs_at_once_make_it_once(user: User) -> None:
    (user.folder / "w.txt").write_text("first")
    user.code(SLOW)
    assert {type(outcome) for outcome in at_once(user, user)} == {Built, Cached}


def test_two_checkouts_at_once_each_get_their_own(user: User, tmp_path: Path) -> None:
    """What they will read is not known while one waits for the other."""
    (tmp_path / "other").mkdir()
    other = User(tmp_path / "other")
    other.store = user.store
    for one, text in ((user, "first"), (other, "another")):
        (one.folder / "w.txt").write_text(text)
        one.code(SLOW)
    outcomes = at_once(user, other)
    assert [type(outcome) for outcome in outcomes] == [Built, Built]
    assert [o.output["value"] for o in outcomes if isinstance(o, Built)] == ["first", "another"]
    assert user.value() == ("first", False)
    assert other.value() == ("another", False)


def test_a_result_whose_blob_is_lost_is_made_again(user: User) -> None:
    blob = user.store.put_blob(b"content")
    user.code(f"def value():\n    return 1\nBLOB = {blob!r}\n")
    attempt = replace(user.attempt(), function="reading_steps:read_with_blob")
    assert isinstance(perform(attempt)[0], Built)
    assert isinstance(perform(attempt)[0], Cached)
    Path(user.store.uri, f"blobs/sha256/{blob[7:9]}/{blob[7:]}").unlink()
    lost = perform(attempt)[0]
    assert isinstance(lost, Failed), "this step can't make the blob again, but is asked to"
    assert "lacks" in lost.message
    user.store.put_blob(b"content")
    assert isinstance(perform(attempt)[0], Cached)


def test_a_failed_build_has_the_key_of_what_it_read(user: User) -> None:
    """However it ended: by itself, or killed at a limit."""
    keys = []
    for text in ("first", "another", "first"):
        (user.folder / "w.txt").write_text(text)
        for code in ("raise ValueError", "import time\n    time.sleep(60)"):
            user.code(f"def value():\n    (HERE / 'w.txt').read_text()\n    {code}\n")
            spec = {**user.attempt().spec, "replace": [1]}
            attempt = replace(user.attempt(), step="build", spec=spec, timeout=8.0)
            failed = perform(attempt)[0]
            assert isinstance(failed, Failed)
            keys.append(failed.key)
    assert None not in keys
    assert keys[:2] == keys[4:]
    assert len(set(keys)) == 4


@pytest.mark.parametrize("variable", ["HF_TOKEN", "SOME_URL"])
def test_a_secret_is_unset_to_the_step_and_to_its_key(
    user: User, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.code(f"def value():\n    return os.environ.get({variable!r}, 'unset')\n")
    for secret in ("https://me:one@host", "https://me:two@host"):
        monkeypatch.setenv(variable, secret)
        value, ran = user.value()
        assert value == "unset"
        assert ran == secret.endswith("one@host")
    monkeypatch.setenv("KILN_STEP_ENV", variable)
    assert user.value() == ("https://me:two@host", True)
    assert user.value() == ("https://me:two@host", False)


def test_a_node_finds_what_its_own_variables_give(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step sees the variables of the machine that runs it. Where the driver's are others, its plan finds no
    result and asks for the step; the node, asked, finds its own and makes nothing again."""
    user.code("def value():\n    return os.environ.get('SCALE', 'unset')\n")
    monkeypatch.setenv("SCALE", "node")
    assert user.value() == ("node", True)
    for driver in ("driver", None):
        if driver is None:
            monkeypatch.delenv("SCALE")
        else:
            monkeypatch.setenv("SCALE", driver)
        assert user.find() is None, "never the result of another value"
        with monkeypatch.context() as node:
            node.setenv("SCALE", "node")
            assert user.value() == ("node", False)


def test_where_a_step_works_is_no_input(user: User) -> None:
    """Each attempt has another folder."""
    user.code(
        "def value():\n    import tempfile\n    Path('own.txt').write_text('x')\n    Path('own.txt').read_text()\n"
        "    with tempfile.NamedTemporaryFile() as file:\n        open(file.name).read()\n"
        "    return 'PWD' in os.environ and os.environ['PWD'] == os.getcwd() and os.listdir('.')[0]\n"
    )
    assert user.value() == ("own.txt", True)
    assert user.value() == ("own.txt", False)


def test_a_file_that_is_hidden_from_the_step_does_not_count(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    user.code("def value():\n    return 'saw ' + (Path.home() / '.netrc').read_text()\n")
    (home / ".netrc").write_text("first")
    value, _ = user.value()
    if value != "saw ":
        assert user.value() == ("saw first", False)
        pytest.skip("no mount namespace may be made here")
    (home / ".netrc").write_text("another")
    assert user.value() == ("saw ", False)


def test_a_program_of_ours_is_in_the_key_already(user: User) -> None:
    user.code(
        "def value():\n    import subprocess, sys\n"
        f"    command = [{sys.executable!r}, '-m', 'orchestrator.worker.child']\n"
        "    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode\n"
    )
    assert user.value() == ("1", True)
    user.code(
        f"def value():\n    import subprocess\n    subprocess.run([{sys.executable!r}, '-m', 'this'])\n"
    )
    refused = user.run()
    assert isinstance(refused, Failed)
    assert refused.code == "unrecorded"
