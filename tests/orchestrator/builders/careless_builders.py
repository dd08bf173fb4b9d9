"""Steps whose model takes what lies around, leaves a mess, or kills what watches it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

SLEEPER = "import time; time.sleep(600)"


def delete_the_working_directory() -> dict[str, Any]:
    here = os.getcwd()
    shutil.rmtree(here)
    return {"deleted": here}


def forge(everywhere: bool) -> dict[str, Any]:
    """Leave replies wherever one might be looked for, then die without one."""
    for text in ('{"output": {"forged": true}}', '{"weird": 1}', "[]"):
        for folder in {
            tempfile.gettempdir(),
            os.getcwd(),
            *map(str, Path(tempfile.gettempdir()).parents[:1]),
        }:
            for name in ("result.json", "progress.json", "told/progress.json"):
                if os.path.isdir(os.path.dirname(os.path.join(folder, name))):
                    Path(folder, name).write_text(text)
        if everywhere:
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, text.encode())
                except OSError:
                    continue
    time.sleep(0.3)
    os._exit(0)


def reply_with(text: str) -> Any:
    """A step whose function returns something that is no output."""
    return json.loads(text)


def print_much(count: int) -> dict[str, Any]:
    print("the first line")
    piece = b"x" * (1 << 20)
    for _ in range(count):
        os.write(1, piece)
    print("\nthe last line")
    return {}


def kill_guards(pid_file: str, guards: int) -> dict[str, Any]:
    """Children in sessions of their own, then a kill of so many guards above, then of this process."""
    plain = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    bare = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True, env={})
    above = psutil.Process(os.getppid())
    chain = [above, above.parent()][:guards]
    Path(pid_file).write_text(json.dumps([plain.pid, bare.pid, os.getpid()]))
    for guard in reversed(chain):
        guard.send_signal(signal.SIGKILL)
    time.sleep(600)
    return {}


def look_around(files: list[str]) -> dict[str, Any]:
    """Everything that a curious model finds."""
    read = {}
    for name in files:
        try:
            read[name] = os.listdir(name) if os.path.isdir(name) else Path(name).read_text()
        except OSError as error:
            read[name] = type(error).__name__
    return {"environment": dict(os.environ), "files": read, "cwd": os.getcwd()}


def damage(folder: str) -> dict[str, Any]:
    """Delete all that can be deleted below a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return {}


class QuotaError(Exception):
    """Somebody else's exception, which happens to have a code."""

    code = "infra"


def foreign_code() -> dict[str, Any]:
    raise QuotaError("429 from a web service")


def which(module: str) -> dict[str, Any]:
    """Where a module comes from."""
    import importlib

    return {"file": importlib.import_module(module).__file__}


def put(step: str, spec: Any, upstream: Any, store: str) -> dict[str, Any]:
    """Use the store as a step does, and in every way that a step may not."""
    from enginebundle.errors import BundleError
    from enginebundle.format.digest import digest_json
    from enginebundle.format.spec import Target
    from enginebundle.storage.store import Version
    from orchestrator.worker.lent import opened

    lent = opened(store)
    digest = lent.put_blob(b"made by a step" * 1000)
    empty = lent.put_blob(b"")
    own = {"step": spec.get("own", "engine"), "n": 1}
    refused = {}
    attempts = {
        "result of a task": lambda: lent.put_result(
            spec["key"], {"key": spec["key"], "identity": {"step": "build"}}
        ),
        "another's result": lambda: lent.replace_result(
            spec["key"], {"key": spec["key"], "identity": own}
        ),
        "a file of a run": lambda: lent.put_file("runs/x/results.json", b""),
        "a lease": lambda: lent.put_lease("leases/runs/x.json", {}),
        "an alias": lambda: lent.set_alias("m", "latest", 1),
        "a version": lambda: lent.publish("m", b"x", b"y"),
        "evidence": lambda: lent.put_evidence(
            Version("m", 1, digest), Target.parse("torch:cpu"), b"a", b"b"
        ),
        "a blob gone": lambda: (
            lent.storage.remove(f"blobs/sha256/{digest[7:9]}/{digest[7:]}")
            or lent.read_blob(digest)
        ),
        "a lie": lambda: lent.storage.put(f"blobs/sha256/{digest[7:9]}/{digest[7:]}", b"other"),
        "out of the store": lambda: lent.storage.put("../x", b""),
        "an engine": lambda: lent.put_result(
            digest_json(own), {"key": digest_json(own), "identity": own, "output": {}}
        ),
        "a timing cache": lambda: lent.move_timing(spec["key"], 0, {"cache": digest}),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except (BundleError, ValueError) as error:
            refused[name] = f"{type(error).__name__}: {error}"
    return {
        "blob": digest,
        "empty": empty,
        "refused": refused,
        "back": lent.read_blob(digest) == b"made by a step" * 1000,
    }
