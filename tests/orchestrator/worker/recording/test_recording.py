"""What a step reads is seen however it reads it, looked up again, and another key when it differs."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from orchestrator.plan.inputs import now
from orchestrator.plan.inputs.places import places_of
from orchestrator.worker.outcome import Built, Cached, Failed
from tests.orchestrator.worker.recording.user import User


def natively(file: str) -> str:
    return (
        "    import ctypes\n    libc, room = ctypes.CDLL(None), ctypes.create_string_buffer(99)\n"
        f"    file = libc.open(str({file}).encode(), 0)\n    libc.read(file, room, 99)\n"
        "    return room.value.decode()\n"
    )


WAYS = {
    "Python": "    return (HERE / 'w.txt').read_text()\n",
    "native code": natively("HERE / 'w.txt'"),
    "a thread": "    import threading\n    found = []\n"
    "    one = threading.Thread(target=lambda: found.append((HERE / 'w.txt').read_text()))\n"
    "    one.start(); one.join()\n    return found[0]\n",
    "a fork": "    read, write = os.pipe()\n    if os.fork() == 0:\n"
    "        os.write(write, (HERE / 'w.txt').read_bytes()); os._exit(0)\n"
    "    return os.read(read, 99).decode()\n",
    "a mapping": "    import mmap\n    with open(HERE / 'w.txt', 'rb') as file:\n"
    "        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:].decode()\n",
    "a relative path": "    os.chdir(HERE)\n    return open('w.txt').read()\n",
    "a folder's descriptor": "    at = os.open(HERE, os.O_PATH)\n"
    "    return os.read(os.open('w.txt', os.O_RDONLY, dir_fd=at), 99).decode()\n",
    "a roundabout path": "    return open(f'{HERE}/../ws/./w.txt').read()\n",
    "its size": "    return os.path.getsize(HERE / 'w.txt')\n",
    "a listing": "    return sorted(name for name in os.listdir(HERE) if name.endswith('.txt'))\n",
    "a walk": "    return [n for _, _, names in os.walk(HERE) for n in names if n.endswith('.txt')]\n",
    "a link": "    os.readlink(HERE / 'link')\n    return (HERE / 'link').resolve().read_text()\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_counts_however_it_is_read(user: User, way: str) -> None:
    (user.folder / "w.txt").write_text("first")
    (user.folder / "v.txt").write_text("first")
    (user.folder / "link").symlink_to("w.txt")
    user.code(f"def value():\n{WAYS[way]}")
    first, ran = user.value()
    assert ran
    assert user.value() == (first, False)
    (user.folder / "w.txt").write_text("another")
    (user.folder / "x.txt").write_text("")
    _, ran = user.value()
    assert ran
    (user.folder / "x.txt").unlink()
    (user.folder / "w.txt").write_text("first")
    assert user.value() == (first, False), "the earlier result is still there"


def test_what_lies_in_shared_memory_counts(user: User) -> None:
    """Weights that were put there for speed. A semaphore, whose name is new each time, is no input."""
    file = Path(f"/dev/shm/kiln-test-{os.getpid()}")
    user.code(
        "import multiprocessing\ndef value():\n    multiprocessing.Lock()\n"
        f"    return open({str(file)!r}).read()\n"
    )
    try:
        file.write_text("first")
        assert user.value() == ("first", True)
        assert user.value() == ("first", False)
        file.write_text("other")
        assert user.value() == ("other", True)
        assert {n for n in str(user.inputs()).split("'") if n.startswith("/dev")} == {str(file)}
    finally:
        file.unlink()


def test_what_is_not_read_does_not_count(user: User) -> None:
    (user.folder / "w.txt").write_text("first")
    user.code("def value():\n    return (HERE / 'w.txt').read_text()\n")
    first = user.value()[0]
    for name in ("own.txt", "more.py", "w.txt.bak", "store.json"):
        (user.folder / name).write_text("x")
    (user.folder / "__pycache__").mkdir(exist_ok=True)
    os.utime(user.folder / "w.txt", (1, 1))
    (user.folder / "w.txt").write_text("first")
    assert user.value() == (first, False)


def test_inputs_are_named_from_the_manifest_s_folder(user: User, tmp_path: Path) -> None:
    (user.folder / "deep").mkdir()
    (user.folder / "deep/w.txt").write_text("first")
    user.code("def value():\n    return (HERE / 'deep/w.txt').read_text()\n")
    user.value()
    inputs = user.inputs()
    assert inputs["files"].keys() == {"./own.py", "./deep/w.txt"}
    assert inputs["imports"]["."] == {"own": "own.py"}
    assert not [name for name in inputs["looks"] if str(tmp_path) in name]
    shutil.move(user.folder, tmp_path / "elsewhere")
    user.folder = tmp_path / "elsewhere"
    assert user.value() == ("first", False)


@pytest.mark.parametrize(
    "name", ["faster.py", "faster/__init__.py", "faster/other.txt", "local.txt", "local.txt/x"]
)
def test_what_was_looked_for_in_vain_counts_once_it_is_there(user: User, name: str) -> None:
    user.code(
        "def value():\n    try:\n        import faster\n    except ImportError:\n        faster = None\n"
        "    return faster, (HERE / 'local.txt').exists()\n"
    )
    user.value()
    assert not user.value()[1]
    (user.folder / name).parent.mkdir(exist_ok=True)
    (user.folder / name).write_text("")
    assert user.value()[1]


def test_a_module_that_comes_first_counts(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module on PYTHONPATH that is found later than another place where there was none."""
    for place in ("a", "b"):
        (user.folder / place).mkdir()
    found = os.pathsep.join((str(user.folder / "a"), str(user.folder / "b")))
    monkeypatch.setenv("PYTHONPATH", found + os.pathsep + os.environ.get("PYTHONPATH", ""))
    (user.folder / "b/shared.py").write_text("VALUE = 'b'")
    user.code("def value():\n    import shared\n    return shared.VALUE\n")
    assert user.value() == ("b", True)
    (user.folder / "b/shared.py").write_text("VALUE = 'c'")
    assert user.value() == ("c", True)
    (user.folder / "a/shared.py").write_text("VALUE = 'a'")
    assert user.value() == ("a", True)
    (user.folder / "a/shared.py").unlink()
    assert user.value() == ("c", False)


def test_a_source_of_the_same_size_and_time_is_compiled_anew(user: User) -> None:
    """A .pyc file would pass for fresh."""
    (user.folder / "part.py").write_text("VALUE = 'a'")
    user.code("def value():\n    import part\n    return part.VALUE\n")
    state = (user.folder / "part.py").stat()
    __import__("py_compile").compile(str(user.folder / "part.py"))
    assert user.value() == ("a", True)
    (user.folder / "part.py").write_text("VALUE = 'b'")
    os.utime(user.folder / "part.py", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert user.value() == ("b", True)


READS = [
    "os.environ['SCALE']", "os.environ.get('SCALE')", "os.getenv('SCALE')", "'SCALE' in os.environ",
    "os.environb[b'SCALE']", "os.path.expandvars('$SCALE')", "__import__('posix').environ.get(b'SCALE')",
]  # fmt: skip


@pytest.mark.parametrize("how", READS)
def test_variables_that_the_users_code_reads_count(
    user: User, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.code(f"def value():\n    return {how}\n")
    monkeypatch.setenv("SCALE", "1")
    user.value()
    assert not user.value()[1]
    monkeypatch.setenv("UNRELATED", "1")
    assert not user.value()[1]
    monkeypatch.setenv("SCALE", "a secret")
    assert user.value()[1]
    assert "a secret" not in str(user.inputs())
    monkeypatch.setenv("SCALE", "1")
    assert not user.value()[1]


def test_a_machines_own_variable_counts_where_the_users_code_asks_for_it(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.code("def value():\n    return os.environ.get('HOSTNAME')\n")
    monkeypatch.setenv("HOSTNAME", "one")
    assert user.value() == ("one", True)
    monkeypatch.setenv("HOSTNAME", "two")
    assert user.value() == ("two", True)
    user.code(
        "def value():\n    return os.path.expandvars('~/x') and os.path.isabs(os.path.expanduser('~'))\n"
    )
    user.value()
    monkeypatch.setenv("HOME", str(user.folder))
    assert not user.value()[1], "the path is not what is read under it"


def test_variables_that_the_step_sets_itself_do_not_count(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.code("def value():\n    os.environ['SCALE'] = '5'\n    return os.environ['SCALE']\n")
    assert user.value() == ("5", True)
    monkeypatch.setenv("SCALE", "1")
    assert user.value() == ("5", False)


def test_what_the_step_writes_itself_is_no_input_but_what_it_read_before_is(user: User) -> None:
    (user.folder / "count.txt").write_text("1")
    user.code(
        "def value():\n    (HERE / 'made').mkdir(exist_ok=True)\n    (HERE / 'made/a.txt').write_text('a')\n"
        "    before = (HERE / 'count.txt').read_text()\n"
        "    (HERE / 'count.txt').write_text(before + '1')\n"
        "    return before, (HERE / 'made/a.txt').read_text()\n"
    )
    user.value()
    (user.folder / "count.txt").write_text("1")
    shutil.rmtree(user.folder / "made")
    assert user.value() == ("('1', 'a')", False)
    (user.folder / "count.txt").write_text("2")
    assert user.value()[1]


def test_a_file_that_changes_meanwhile_is_caught(user: User) -> None:
    (user.folder / "w.txt").write_text("first")
    user.code(
        "import time\n"
        "def value():\n    found = (HERE / 'w.txt').read_text()\n    (HERE / 'read').touch()\n"
        "    while not (HERE / 'changed').exists():\n        time.sleep(0.01)\n    return found\n"
    )

    def change() -> None:
        while not (user.folder / "read").exists():
            time.sleep(0.01)
        (user.folder / "w.txt").write_text("other")
        (user.folder / "changed").touch()

    other = threading.Thread(target=change)
    other.start()
    ended = user.run()
    other.join()
    assert isinstance(ended, Failed)
    assert ended.code == "changed"
    assert "w.txt was not the same" in ended.message or "changed was not" in ended.message
    assert user.find() is None


def test_a_pipe_in_the_place_of_a_file_is_looked_up_without_waiting(user: User) -> None:
    os.mkfifo(user.folder / "pipe")
    threading.Thread(target=(user.folder / "pipe").write_text, args=("x",), daemon=True).start()
    assert now.content(user.folder / "pipe") == now.UNREADABLE


UNSEEN = {
    "subprocess": (
        "    import subprocess\n    return subprocess.run(['/bin/cat', HERE / 'w.txt'], capture_output=True)"
        ".stdout.decode()\n",
        "subprocess /bin/cat",
    ),
    "network": (
        "    import socket\n    return socket.socket().fileno() > 0\n",
        "the network",
    ),
    "another process": (
        "    import socket\n    one = socket.socket(socket.AF_UNIX)\n"
        "    one.connect(str(HERE / 'server'))\n    return one.recv(9).decode()\n",
        "server",
    ),
    "environment": ("    return len(dict(os.environ))\n", "the whole environment"),
    "environment of the kernel": (
        "    return len(open('/proc/self/environ', 'rb').read())\n",
        "the whole environment",
    ),
    "environment of a thread": (
        "    return len(open(f'/proc/{os.getpid()}/task/{os.getpid()}/environ', 'rb').read())\n",
        "the whole environment",
    ),
    "environment as the C library has it": (
        "    import posix\n    return len(dict(posix.environ))\n",
        "the whole environment",
    ),
    "a pipe": ("    return (HERE / 'pipe').read_text()\n", "pipe"),
    "a pipe, natively": (natively("HERE / 'pipe'"), "pipe"),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_can_t_be_recorded_is_refused_or_named(user: User, what: str) -> None:
    (user.folder / "w.txt").write_text("first")
    code, named = UNSEEN[what]
    user.code(f"def value():\n{code}")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(user.folder / "server"))
    server.listen()
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    if what.startswith("a pipe"):
        os.mkfifo(user.folder / "pipe")
        threading.Thread(
            target=(user.folder / "pipe").write_text, args=("told",), daemon=True
        ).start()
    refused = user.run()
    assert isinstance(refused, Failed)
    assert refused.code == "unrecorded"
    assert named in refused.message
    assert "`unrecorded: allow`" in refused.message
    assert isinstance(user.run(unrecorded="allow"), Built)
    record = user.find(unrecorded="allow")
    assert record is not None
    (told,) = record["provenance"]["unkeyed"]
    assert named in told
    server.close()


@pytest.mark.parametrize(
    "asked", ["/tmp/nvidia-mps/control", "/run/nscd/socket", "/var/lib/sss/pipes/nss"]
)
def test_services_of_the_system_may_be_asked(user: User, asked: str) -> None:
    """CUDA connects to its own service when it starts; looking up a user's name, to the name service's."""
    code = (
        "    import socket\n    one = socket.socket(socket.AF_UNIX)\n"
        f"    return one.connect_ex({asked!r}) > 0\n"
    )
    user.code(f"def value():\n{code}")
    assert isinstance(user.run(), Built)
    record = user.find()
    assert record is not None
    assert "unkeyed" not in record["provenance"]
    user.code(f"def value():\n{code.replace(asked, asked + '/../../../elsewhere')}")
    assert isinstance(user.run(), Failed)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].sendall(b"told")
        except OSError:
            return


def test_what_a_subprocess_opens_counts_where_it_is_allowed(user: User) -> None:
    (user.folder / "w.txt").write_text("first")
    user.code(f"def value():\n{UNSEEN['subprocess'][0]}")
    for text in ("first", "another"):
        (user.folder / "w.txt").write_text(text)
        ended = user.run(unrecorded="allow")
        assert isinstance(ended, Built)
        assert ended.output["value"] == text
    assert isinstance(user.run(unrecorded="allow"), Cached)


def test_a_kernel_without_notifications_is_refused_or_named(user: User) -> None:
    (user.folder / "w.txt").write_text("first")
    user.code("def value():\n    return (HERE / 'w.txt').read_text()\n")
    refused = user.run(function="without_notifications")
    assert isinstance(refused, Failed)
    assert refused.code == "unrecorded"
    how = {"function": "without_notifications", "unrecorded": "allow"}
    assert isinstance(user.run(**how), Built)
    record = user.find(unrecorded="allow")
    assert record is not None
    assert "native code" in record["provenance"]["unkeyed"][0]
    assert isinstance(user.run(**how), Cached)
    (user.folder / "w.txt").write_text("another")
    assert isinstance(user.run(**how), Built), "Python's own opens are seen all the same"


def test_a_crash_and_an_exit_end_as_they_do_without_a_record(user: User) -> None:
    user.code("def value():\n    import ctypes\n    ctypes.string_at(0)\n")
    crashed = user.run()
    assert isinstance(crashed, Failed)
    assert crashed.code == "crashed"
    user.code("def value():\n    open(HERE / 'absent.txt')\n")
    failed = user.run()
    assert isinstance(failed, Failed)
    assert failed.code == "error"
    assert failed.key, "known again by what it read"
    assert user.store.list_files("inputs")


def test_the_store_is_no_input(user: User) -> None:
    """Even where it lies in the manifest's folder and the step reads there."""
    user.store = Store.open(user.folder / "store", create=True)
    user.code("def value():\n    return (HERE / 'store/store.json').read_text()\n")
    user.value()
    assert user.inputs()["files"].keys() == {"./own.py"}


def test_places_are_those_of_the_spec() -> None:
    assert places_of({"source": {"search_path": ["/a"]}}).name("/a/b.py") == "./b.py"
    assert places_of({"search_path": ["/a"]}).name("/a/b.py") == "./b.py"
    assert places_of({"plugins": {"search_path": ["/a"]}}).name("/a/b.py") == "./b.py"
