"""The services of examples/, started as a user does: they follow an alias, and no request is lost."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, expected, new_store, publish

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300.0
"""Seconds for a service to start, or to follow; far above what it takes."""
FASTAPI = """
import sys, uvicorn
from examples.fastapi_service import make_app
uvicorn.run(make_app(sys.argv[1], "prod", 0.05), port=int(sys.argv[2]), log_level="warning")
"""
RAY_SERVE = """
import sys, ray, signal
from ray import serve
from examples.ray_serve_service import build
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"port": int(sys.argv[2])})
serve.run(build({"bundle": sys.argv[1], "alias": "prod", "every": "0.05", "replicas": "2"}))
signal.pause()
"""
Ask = Callable[[bytes], tuple[int, Any]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    made = new_store(tmp_path)
    put(made, "first")
    return made


def put(store: Store, label: str) -> int:
    """A validated version; the alias is moved only then."""
    version = publish(store, label=label, alias="next")
    validate_and_sign(store, version, CPU)
    store.set_alias("tiny", "prod", version.number)
    return version.number


@pytest.fixture(params=["fastapi", "ray serve"])
def ask(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Ask]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, path = (FASTAPI, "/predict") if request.param == "fastapi" else (RAY_SERVE, "/")
    service = subprocess.Popen(
        [sys.executable, "-c", code, f"{store.uri}/tiny", str(port)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=(tmp_path / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip

    def ask(body: bytes) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    try:
        until = time.monotonic() + PATIENCE
        while not _answers(ask):
            log = (tmp_path / "log").read_text()
            assert service.poll() is None, log
            assert time.monotonic() < until, log
            time.sleep(0.2)
        yield ask
    finally:
        service.terminate()
        try:
            service.wait(60)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _answers(ask: Ask) -> bool:
    try:
        return ask(body(1))[0] == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


def body(rows: int) -> bytes:
    x = torch.arange(rows * 3.0).reshape(rows, 3) / 10
    return json.dumps({"x": x.tolist(), "mask": [True] * rows}).encode()


def refuses_what_is_wrong(ask: Ask) -> None:
    """A wrong request is its client's fault, and no other's."""
    for wrong, status, told in (
        (b'{"x": [[1, 2, 3]]}', 422, "missing ['mask']"),
        (b'{"x": [[1, 2], [3]], "mask": [true, true]}', 422, "lists of numbers of equal lengths"),
        (b'{"x": [["a", 2, 3]], "mask": [true]}', 422, "lists of numbers"),
        (json.dumps({"x": [[0, 0, 0]] * 17, "mask": [True] * 17}).encode(), 422, "no profile"),
        (b"[1]", 422, "an object of inputs by name"),
        (b"{", 400, "expected JSON"),
    ):
        got, answer = ask(wrong)
        assert (got, told in answer["error"]) == (status, True), answer
    assert ask(body(2))[0] == 200


def test_a_service_switches_without_dropping_a_request(store: Store, ask: Ask) -> None:
    refuses_what_is_wrong(ask)
    stop = threading.Event()
    seen: list[set[int]] = [set() for _ in range(3)]

    def client(place: int) -> int:
        count = 0
        while not stop.is_set():
            rows = 1 + count % 16
            status, answer = ask(body(rows))
            assert status == 200, answer
            x = torch.arange(rows * 3.0).reshape(rows, 3) / 10
            want = expected(x, torch.ones(rows, dtype=torch.bool))["y"]
            torch.testing.assert_close(torch.tensor(answer["outputs"]["y"]), want)
            seen[place].add(answer["version"])
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(client, n) for n in range(3)]
        try:
            for label in ("second", "third"):
                number = put(store, label)
                until = time.monotonic() + PATIENCE
                while not all(number in one for one in seen):
                    assert not any(one.done() for one in clients)
                    assert time.monotonic() < until
                    time.sleep(0.01)
        finally:
            stop.set()
        assert all(one.result() > 0 for one in clients)
    assert [max(one) for one in seen] == [3, 3, 3]
