"""Every test has its own home, cache and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from enginebundle.storage.store import Store
from tests.enginebundle.examples import new_store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENGINEBUNDLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """HOST:PORT of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def remote(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    """A new store in a new bucket."""
    from pyarrow import fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"b{abs(hash(request.node.name))}"
    fs.S3FileSystem(
        endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True
    ).create_dir(bucket)
    uri = f"s3://{bucket}/farm/store?endpoint_override={endpoint}&scheme=http&region=us-east-1"
    return Store.open(uri, create=True)
