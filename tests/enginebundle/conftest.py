"""Every test has its own home, cache and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from tests.enginebundle.examples import new_store
from tests.enginebundle.standin import KEYS, StandIn, make_bucket, serve


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGINEBUNDLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


@pytest.fixture(scope="module")
def standin() -> Iterator[tuple[str, StandIn]]:
    with serve() as found:
        yield found


@pytest.fixture(scope="module")
def endpoint(standin: tuple[str, StandIn]) -> str:
    """HOST:PORT of an S3 server on loopback."""
    return standin[0]


@pytest.fixture
def server(standin: tuple[str, StandIn]) -> Iterator[StandIn]:
    """That server."""
    yield standin[1]
    standin[1].fault = None


@pytest.fixture
def remote(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    """A new store in a new bucket."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{abs(hash(request.node.name))}"
    make_bucket(endpoint, bucket)
    uri = f"s3://{bucket}/farm/store?endpoint_override={endpoint}&scheme=http&region=us-east-1"
    return Store.open(uri, create=True)
