"""A run says that it is alive, so that nothing it relies on is swept away; a sweep says that it goes on.

Each writes its own lease first, and then looks for the other's: at least one of two that begin at the same
time sees the other. A run waits for a sweep to end before it looks anything up. A sweep that sees a run
keeps every result, and all that results name.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from enginebundle.errors import BundleError, ConflictError
from enginebundle.storage.leases import SWEEP, run_path
from enginebundle.storage.store import Store
from orchestrator.keep import holder

_LOG = logging.getLogger(__name__)
_LOOK = 0.2


@contextlib.contextmanager
def alive(store: Store, run: str) -> Iterator[None]:
    """Hold the lease of a run. First waits until no sweep goes on."""
    path = run_path(run)
    mine = _document()
    store.put_lease(path, mine)
    with _beating(store, path, mine):
        said = False
        while (document := store.lease(SWEEP)) is not None and not _dead(store, SWEEP, document):
            if not said:
                said = True
                _LOG.warning(
                    "waiting for `kiln gc` on %s to end", document.get("host", "another machine")
                )
            time.sleep(_LOOK)
        yield


@contextlib.contextmanager
def sweeping(store: Store) -> Iterator[None]:
    """Hold the lease of a sweep. ConflictError if another goes on."""
    document = store.lease(SWEEP)
    if document is not None and not _dead(store, SWEEP, document):
        raise ConflictError(
            f"another `kiln gc` is at work on {document.get('host', 'another machine')}: wait for it"
        )
    mine = _document()
    if document:
        won = store.move_lease(SWEEP, document, mine)
    else:
        if document is not None:  # damaged
            store.end_lease(SWEEP)
        won = store.claim_lease(SWEEP, mine)
    if not won:
        raise ConflictError("another `kiln gc` began at the same time: try again")
    with _beating(store, SWEEP, mine):
        yield


def runs_alive(store: Store) -> list[str]:
    """The paths of the leases of runs that are alive. Takes half a minute if one may be dead elsewhere."""
    return [
        path for path, document in store.run_leases().items() if not _dead(store, path, document)
    ]


def _dead(store: Store, path: str, document: dict[str, Any]) -> bool:
    """Whether the holder is gone: a process of this machine, or one whose document stays the same."""
    if document.get("machine") == holder.this_process()["machine"] and "pid" in document:
        return holder.gone(document)
    end = time.monotonic() + holder.STALE
    while time.monotonic() < end:
        time.sleep(_LOOK)
        if store.lease(path) != document:
            return False
    return True


def _document() -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "beat": 0,
        **holder.this_process(),
    }


@contextlib.contextmanager
def _beating(store: Store, path: str, document: dict[str, Any]) -> Iterator[None]:
    """Keep the heart of a lease beating, and remove it at the end, as long as nobody took it over."""
    done = threading.Event()

    def beat() -> None:
        last = document
        while not done.wait(holder.BEAT):
            after = last | {"beat": last["beat"] + 1}
            with contextlib.suppress(BundleError):
                if not store.move_lease(path, last, after):
                    return
                last = after

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(BundleError):  # then it goes stale
            if (store.lease(path) or {}).get("id") == document["id"]:
                store.end_lease(path)
