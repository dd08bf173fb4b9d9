"""A real S3 server for tests: SeaweedFS, built from its Go module.

    python -m tests.s3.seaweed      builds .s3/weed, or says why it can't

The source comes from the Go module proxy that `go env GOPROXY` names, checked against go.sum's database. The
build takes half an hour of one processor and 2 GB of Go's caches; the program has 230 MB.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = "github.com/seaweedfs/seaweedfs"
VERSION = "v0.0.0-20261109003541-7506e5f91cd6"  # 4.53
PROGRAM = Path(__file__).parents[2] / ".s3" / "weed"
BUCKET = "farm"
"""The one bucket: the server gives each some volumes of its own."""
KEYS = {"AWS_ACCESS_KEY_ID": "farm", "AWS_SECRET_ACCESS_KEY": "farm's secret"}
_IDENTITIES = {
    "identities": [{
        "name": "farm",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin"],
    }]
}  # fmt: skip


def build() -> str:
    """Build the server, unless that was done. Returns why that is not possible, or an empty text."""
    if PROGRAM.is_file():
        return ""
    go = shutil.which("go")
    if go is None:
        return "there is no Go here (1.26 or newer) to build SeaweedFS with"
    got = subprocess.run(
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], capture_output=True, text=True
    )
    if got.returncode:
        return f"Go's module proxy does not give {MODULE}@{VERSION}: {got.stdout}{got.stderr}"
    with tempfile.TemporaryDirectory() as folder:
        # Its go.mod replaces a module, which Go allows in the main module only.
        source = shutil.copytree(json.loads(got.stdout)["Dir"], Path(folder, "source"))
        subprocess.run(["chmod", "-R", "u+w", source], check=True)
        PROGRAM.parent.mkdir(exist_ok=True)
        made = subprocess.run(
            [go, "build", "-o", f"{PROGRAM}.new", "./weed"],
            cwd=source,
            capture_output=True,
            text=True,
        )
    if made.returncode:
        return f"SeaweedFS does not build: {made.stderr[-2000:]}"
    os.replace(f"{PROGRAM}.new", PROGRAM)
    return ""


@dataclass(frozen=True)
class Server:
    """A running server, and how to ask it past any store."""

    port: int

    def raw(self) -> Any:
        """A client of boto3, which tries nothing again."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )  # fmt: skip


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """A server on loopback, with its files in a new folder."""
    folder.mkdir()
    config = folder / "identities.json"
    config.write_text(json.dumps(_IDENTITIES))
    master, volume, filer, s3 = _ports(4)
    command = [
        str(PROGRAM), "-logdir", str(folder), "server", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-master.port={master}", "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", "-volume.max=100", "-filer",
        f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.iam=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        server = Server(s3)
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.kill()  # what it holds was for the tests
        process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until an object can be written."""
    from botocore.exceptions import BotoCoreError, ClientError

    for _ in range(120):
        if process.poll() is not None:
            break
        try:
            client = server.raw()
            client.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou":
                with suppress(ClientError):
                    client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
                    return
        except BotoCoreError:
            pass
        time.sleep(1)
    raise RuntimeError(f"SeaweedFS does not start: {log.read_text()[-3000:]}")


def _ports(count: int) -> list[int]:
    """Free ports, of which those 10,000 higher are free too: the server takes both."""
    found: list[int] = []
    for port in range(20000 + os.getpid() % 10000, 55000):
        with suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 10000))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


if __name__ == "__main__":
    why = build()
    print(f"skipped: {why}" if why else f"{PROGRAM}: SeaweedFS {VERSION}")
    sys.exit(0)
