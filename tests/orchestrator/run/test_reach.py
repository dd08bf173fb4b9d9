"""An address where no Ray cluster is: one line and exit code 3, not a quarter of an hour of Ray's log."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.run import reach
from orchestrator.run.executor import UnreachableError
from orchestrator.run.reach import answers

BUILDERS = Path(__file__).parents[1] / "builders"
ROOT = Path(__file__).resolve().parents[3]


@contextlib.contextmanager
def listening(speak=None):
    """HOST:PORT where connections are accepted; each gets `speak`, or silence."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ends = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    end, _ = server.accept()
                    ends.append(end)
                    if speak is not None:
                        end.sendall(speak)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)  # or the waiting accept would take one more connection
        for end in ends:
            end.close()


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "http://host:1",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:99999",
        "a b:1",
        "host:1:2",
        "",
        "[::1]",
    ],
)
def test_what_is_no_address_is_said_at_once(address):
    with pytest.raises(UnreachableError, match="expected auto, or HOST:PORT"):
        answers(address)


def test_nobody_listens_nobody_answers_or_somebody_else_does(monkeypatch):
    monkeypatch.setattr(reach, "_SECONDS", 0.5)
    with listening() as address, pytest.raises(UnreachableError, match="no Ray cluster at"):
        answers(address)
    with pytest.raises(UnreachableError, match="no Ray cluster at"):
        answers(address)  # closed by now
    with (
        listening(b"SSH-2.0-OpenSSH\r\n") as address,
        pytest.raises(UnreachableError, match="is no Ray"),
    ):
        answers(address)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UnreachableError, match="Ray cluster"):
            answers(f"127.0.0.1:{server.server_address[1]}")
        server.shutdown()


def run(tmp_path, *arguments, **environment):
    """`kiln run` of one small model."""
    shutil.copy(BUILDERS / "tiny_models.py", tmp_path)
    (tmp_path / "manifest.yaml").write_text(
        "models:\n  - name: m\n    source: {entrypoint: 'tiny_models:tiny'}\n"
        "    inputs: {x: {dtype: float32, shape: [b, 4]}}\n    profiles: {any: {b: [1, 4, 8]}}\n"
        "    targets: ['torch:cpu']\n    goldens: {seed: 1, cases: 2}\n"
    )
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(tmp_path / "manifest.yaml")]
    own = {"PYTHONPATH": str(ROOT), "ENGINEBUNDLE_HOME": str(tmp_path / "home")}
    return subprocess.run(
        [*command, "--store", str(tmp_path / "store"), *arguments],
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_ends_with_one_line_and_its_code(tmp_path):
    with listening() as address:
        done = run(tmp_path, "--address", address)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert f"no Ray cluster at {address}" in line


def test_a_ray_of_ones_own_that_does_not_start_is_one_line_too(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    done = run(tmp_path, "--executor", "ray", RAY_TMPDIR=str(tmp_path / "file"))
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert "Ray does not start on this machine: " in line
    assert line.endswith("Try again, or run with --executor local")
    assert "Traceback" not in done.stderr
