"""What the server itself promises: without this, nothing that the other files show would mean anything."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.s3.seaweed import BUCKET, Server

pytestmark = pytest.mark.slow
WRITERS = 4
TURNS = 25


def _race(server: Server, key: str, **condition: str) -> list[int]:
    """The status that each writer got; writer n writes its number."""
    from botocore.exceptions import ClientError

    def write(n: int) -> int:
        try:
            found: Any = clients[n].put_object(Bucket=BUCKET, Key=key, Body=b"%d" % n, **condition)
        except ClientError as error:
            found = error.response
        return int(found["ResponseMetadata"]["HTTPStatusCode"])

    clients = [server.raw() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))


def test_of_racing_writers_with_if_none_match_one_succeeds(server: Server, prefix: str) -> None:
    raw = server.raw()
    for turn in range(TURNS):
        got = _race(server, f"{prefix}/{turn}", IfNoneMatch="*")
        assert sorted(got) == [200, 412, 412, 412]
        kept = raw.get_object(Bucket=BUCKET, Key=f"{prefix}/{turn}")["Body"].read()
        assert kept == b"%d" % got.index(200)


def test_of_racing_writers_with_if_match_one_succeeds(server: Server, prefix: str) -> None:
    raw = server.raw()
    for turn in range(TURNS):
        tag = raw.put_object(Bucket=BUCKET, Key=f"{prefix}/update", Body=b"turn %d" % turn)["ETag"]
        got = _race(server, f"{prefix}/update", IfMatch=tag)
        assert sorted(got) == [200, 412, 412, 412]
        kept = raw.get_object(Bucket=BUCKET, Key=f"{prefix}/update")["Body"].read()
        assert kept == b"%d" % got.index(200)


def test_what_is_absent_matches_nothing(server: Server, prefix: str) -> None:
    assert set(_race(server, f"{prefix}/absent", IfMatch='"0"')) <= {404, 412}
