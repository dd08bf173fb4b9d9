"""From the address of a store in an object store to a client of `obstore`.

    s3://BUCKET/PREFIX   S3, or a server that speaks S3 and has conditional writes
    gs://BUCKET/PREFIX   Google Cloud Storage

    ?region=eu-west-1             of the bucket; default: $AWS_REGION, the profile's, us-east-1
    &endpoint_override=HOST:PORT  another server; default: $AWS_ENDPOINT_URL, the cloud's
    &scheme=http                  a server without TLS

Credentials are not part of an address. They come from the environment (AWS_ACCESS_KEY_ID and so on), from
the keys of a profile in ~/.aws, from a web identity, from the container, or from the machine; on Google Cloud
from what its own tools use by default.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from enginebundle.errors import FormatError, StoreError
from enginebundle.storage.base import safe

CONNECT = 5.0
"""Seconds until a connection must be there."""
SILENCE = 10.0
"""Seconds in which a server must say something, or take what is sent in one request."""
REQUEST = 60.0
"""Seconds in which a request must be done. None moves more than 32 MiB."""
RETRIES = 5.0
"""Seconds in which the library tries a request again, or a part of a large upload."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]\Z")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?\Z")
_OPTIONS = {"s3": ("endpoint_override", "region", "scheme"), "gs": ("endpoint_override", "scheme")}
_IDENTITIES = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


def client(uri: str) -> Any:
    """An `obstore` store of what is below the address. StoreError if it is none, or names no credentials."""
    from obstore import store as kinds
    from obstore.exceptions import BaseError

    kind, bucket, prefix, options = _parse(uri)
    endpoint = _endpoint(kind, options)
    common = {
        "prefix": prefix or None,
        "client_options": {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT),
            "read_timeout": timedelta(seconds=SILENCE),
            "timeout": timedelta(seconds=REQUEST),
        },
        "retry_config": {
            "retry_timeout": timedelta(seconds=RETRIES),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3)},
        },
    }  # fmt: skip
    try:
        if kind == "gs":
            return kinds.GCSStore(
                bucket, config={"base_url": endpoint} if endpoint else {}, **common
            )
        config = _profile(os.environ)
        config |= {"endpoint": endpoint} if endpoint else {}
        config |= {"region": options["region"]} if options.get("region") else {}
        # One by one: not every server that speaks S3 deletes in bulk.
        return kinds.S3Store(bucket, config=config | {"disable_bulk_delete": True}, **common)
    except (BaseError, ValueError) as error:
        raise StoreError(f"store {uri}: {str(error).splitlines()[0]}") from error


def _parse(uri: str) -> tuple[str, str, str, dict[str, str]]:
    """The kind of storage, bucket, prefix and options."""
    try:
        parts = urlsplit(uri)
        kind = {"gcs": "gs"}.get(parts.scheme, parts.scheme)
        prefix = unquote(parts.path).strip("/")
        if not _BUCKET.match(parts.netloc):
            raise ValueError(f"{parts.netloc!r} is no bucket's name")
        if prefix:
            safe(prefix)
        options = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        if unknown := sorted(options.keys() - set(_OPTIONS[kind])):
            raise ValueError(f"no option {unknown[0]!r}; there are {', '.join(_OPTIONS[kind])}")
        if options.get("scheme", "https") not in ("http", "https"):
            raise ValueError(f"scheme={options['scheme']!r}; expected http or https")
        if not _HOST.match(options.get("endpoint_override", "x")):
            raise ValueError(
                f"endpoint_override={options['endpoint_override']!r}; expected HOST:PORT"
            )
    except (ValueError, FormatError) as error:
        raise StoreError(
            f"store {uri}: {error}. Expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
        ) from error
    return kind, parts.netloc, prefix, options


def _endpoint(kind: str, options: Mapping[str, str]) -> str:
    if host := options.get("endpoint_override"):
        return f"{options.get('scheme', 'https')}://{host}"
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT") if kind == "s3" else ()
    return next(filter(None, map(os.environ.get, names)), "")


def _profile(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment leaves open, from ~/.aws: a profile's keys and region."""
    name = environ.get("AWS_PROFILE") or "default"
    keys = _section(environ, "AWS_SHARED_CREDENTIALS_FILE", "credentials", name)
    about = _section(
        environ, "AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"
    )
    found: dict[str, Any] = {}
    if (
        not environ.get("AWS_REGION")
        and not environ.get("AWS_DEFAULT_REGION")
        and "region" in about
    ):
        found["region"] = about["region"]
    if any(map(environ.get, _IDENTITIES)):
        return found
    keys = about | keys
    if "aws_access_key_id" in keys and "aws_secret_access_key" in keys:
        found["access_key_id"] = keys["aws_access_key_id"]
        found["secret_access_key"] = keys["aws_secret_access_key"]
        if "aws_session_token" in keys:
            found["session_token"] = keys["aws_session_token"]
    elif environ.get("AWS_PROFILE"):
        raise StoreError(
            f"the AWS profile {name!r} holds no keys. Put them into the environment: "
            f'eval "$(aws configure export-credentials --profile {name} --format env)"'
        )
    elif environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise StoreError(
            "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    return found


def _section(environ: Mapping[str, str], variable: str, file: str, name: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(environ.get(variable) or Path.home() / ".aws" / file)
        return dict(parser[name]) if name in parser else {}
    except (OSError, RuntimeError, ValueError, configparser.Error):
        return {}  # like its owner's tools, which then find no keys there
