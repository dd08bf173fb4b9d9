"""One server for the lane, a store and a proxy for each test."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from tests.s3 import proxy as proxies
from tests.s3 import seaweed

FAULTS = ("drop", "lose", "cut", "repeat", "500", "503", "500 after", "slow")


class Weather:
    """A plan for a proxy: about one request in `every` meets a fault, from the dice of `seed`."""

    def __init__(self, seed: int, every: int = 4) -> None:
        self._dice, self._every, self._lock = random.Random(seed), every, threading.Lock()

    def __call__(self, method: str, path: str) -> str:
        with self._lock:
            return self._dice.choice(FAULTS) if self._dice.randrange(self._every) == 0 else ""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweed.Server]:
    if not seaweed.PROGRAM.is_file():
        pytest.skip("no S3 server: `make s3` builds SeaweedFS, which needs Go and its module proxy")
    with seaweed.serve(tmp_path_factory.mktemp("s3") / "seaweed") as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGINEBUNDLE_CACHE", str(tmp_path / "cache"))
    for name, value in seaweed.KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


@pytest.fixture
def prefix() -> str:
    """A place in the server's one bucket that no other test has."""
    return f"farm/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def proxy(server: seaweed.Server) -> Iterator[proxies.Proxy]:
    with proxies.between(server.port) as found:
        yield found


def address(prefix: str, port: int, bucket: str = seaweed.BUCKET) -> str:
    options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    return f"s3://{bucket}/{prefix}?{options}"


@pytest.fixture
def store(prefix: str, server: seaweed.Server) -> Store:
    """A new store, asked without a proxy."""
    return Store.open(address(prefix, server.port), create=True)


@pytest.fixture
def through(store: Store, prefix: str, proxy: proxies.Proxy) -> str:
    """The address of that store behind the proxy."""
    return address(prefix, proxy.port)
