"""A stand-in for S3: moto, which takes one request at a time and knows one pair of keys.

moto looks whether an object is there and writes it in two steps. A lock around both makes its conditional
writes what S3's are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_FORBIDDEN = b"""<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code>
<Message>The AWS Access Key Id you provided does not exist in our records.</Message></Error>"""


class StandIn:
    """The WSGI application, and what it was asked for.

    `fault`, if set, gets a request and how to carry it out, and returns the answer's body, or raises: then
    the answer is 500.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.requests: list[str] = []
        self.fault: Callable[[dict[str, Any], Callable[[], bytes]], bytes] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if "Credential=test/" not in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [_FORBIDDEN]

        def carry_out() -> bytes:
            with self._lock:
                return b"".join(self._app(environ, start_response))

        return [carry_out() if self.fault is None else self.fault(environ, carry_out)]


@contextmanager
def serve() -> Iterator[tuple[str, StandIn]]:
    """HOST:PORT of a new server on loopback, and the server."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    app = StandIn()
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", app
    finally:
        server.shutdown()
        thread.join()


def make_bucket(endpoint: str, bucket: str) -> None:
    """Stores do not make buckets."""
    import boto3

    boto3.client(
        "s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    ).create_bucket(Bucket=bucket)  # fmt: skip
