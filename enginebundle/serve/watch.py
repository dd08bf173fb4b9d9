"""A session that follows an alias: `session.watch("prod")` loads what it points at and switches without losing a call.

A thread looks where the alias points. A new version is loaded, its goldens are replayed, and only then do new calls
go there; the old one is closed when its last call has ended. Whatever keeps a version from serving (not validated,
not signed, a store that can't be reached) leaves the old one in place, and is told in `trouble`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from enginebundle.errors import InputError
from enginebundle.storage.bundles import Version

if TYPE_CHECKING:
    import torch

LOG = logging.getLogger(__name__)


class Served(Protocol):
    """What is asked of a session here."""

    @property
    def version(self) -> Version: ...
    def __call__(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]: ...
    async def acall(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]: ...
    def warm_up(self) -> Any: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Origin:
    """Where a session came from. `find`: the version that an alias of its bundle points at now. `load`: that
    version, with the options that this one was loaded with. Both raise what `enginebundle.load` raises."""

    find: Callable[[str], Version]
    load: Callable[[Version], Any]


class _Lease:
    """A session, and how many calls it is answering."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.calls = 0
        self.retired = False


class Following:
    """Calls whatever the alias points at. Any number of threads may call it. A context manager."""

    def __init__(
        self, session: Served, origin: Origin, alias: str, every: float, warm_up: bool
    ) -> None:
        """`every`: seconds between two looks. Looks once now, and raises what that raises."""
        if not every > 0:
            raise InputError(f"watch: expected a number of seconds above 0, got every={every}")
        self.alias = alias
        self.trouble = ""
        """Why the version that the alias points at does not serve, if it does not; else empty."""
        self.switches = 0
        """How often another version took over."""
        self._origin = origin
        self._every = every
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._lease = _Lease(session)
        self._look()
        self._thread = threading.Thread(
            target=self._run, name=f"enginebundle-watch-{alias}", daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Following {self.session.version.name}:{self.alias} at {self.session!r}>"

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def session(self) -> Any:
        """The session that serves now. Another may the moment after; calls go through this object."""
        return self._lease.session

    @property
    def version(self) -> Version:
        """The version that serves now."""
        return self._lease.session.version  # type: ignore[no-any-return]

    def __call__(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        """A call of the session that serves now."""
        with self.held() as session:
            return session(*placed, **inputs)

    async def acall(self, /, *placed: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        """Its `acall`."""
        with self.held() as session:
            return await session.acall(*placed, **inputs)

    @contextmanager
    def held(self) -> Iterator[Served]:
        """The session that serves now, kept open inside: for several calls that belong together."""
        with self._lock:
            lease = self._lease
            lease.calls += 1
        try:
            yield lease.session
        finally:
            with self._lock:
                lease.calls -= 1
                last = lease.retired and not lease.calls
            if last:
                lease.session.close()

    def check(self) -> bool:
        """Look now rather than at the next turn. Whether another version took over; `trouble` says why not."""
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001  whatever it is, the version that serves goes on
            told = f"{type(error).__name__}: {error}"
            if told != self.trouble:
                LOG.warning("%s stays at %s: %s", self.alias, self.version, told)
            self.trouble = told
            return False

    def close(self) -> None:
        """Look no more, and close the session when its last call has ended."""
        self._stop.set()
        with self._looking:
            self._retire(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _look(self) -> bool:
        with self._looking:
            if self._stop.is_set():
                return False
            found = self._origin.find(self.alias)
            if found.digest == self.version.digest:
                self.trouble = ""
                return False
            made = self._origin.load(found)
            try:
                if self._warm_up:
                    made.warm_up()
            except BaseException:
                made.close()
                raise
            LOG.info("%s: %s takes over from %s", self.alias, found, self.version)
            self._retire(_Lease(made))
            self.switches += 1
            self.trouble = ""
            return True

    def _retire(self, following: _Lease | None) -> None:
        with self._lock:
            old = self._lease
            self._lease = following or old
            last = not old.retired and not old.calls
            old.retired = True
        if last:
            old.session.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.check()
