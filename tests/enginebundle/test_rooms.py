"""The order of the rooms inside enginebundle, over every import, those inside functions too."""

from __future__ import annotations

import functools
from pathlib import Path

from tests.test_architecture import ROOT, imports_of, sources

ROOMS = ("errors", "format", "storage", "runtimes", "serve")
FILES = {
    path.relative_to(ROOT).with_suffix("").as_posix(): path for path in sources("enginebundle")
}
"""Every file of the package, named `enginebundle/format/index`."""


@functools.cache
def imported(path: Path) -> set[str]:
    """The files of the package that a file imports."""
    found = set()
    for each in imports_of(path):
        # The last part of `from a import b` is a module or a name in one.
        for module in (each.module, each.module.rpartition(".")[0]):
            if (name := module.replace(".", "/")) in FILES:
                found.add(name)
                break
    return found


def test_a_room_imports_only_itself_and_those_before_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in FILES.items()
        if (room := name.split("/")[1]) in ROOMS
        for other in imported(path)
        if ROOMS.index(other.split("/")[1]) > ROOMS.index(room)
    ]
    assert wrong == []


def test_every_file_is_in_a_room() -> None:
    loose = {name.split("/")[1] for name in FILES} - set(ROOMS)
    assert loose == {"__init__", "__main__"}


def test_no_file_imports_itself_through_others() -> None:
    def reach(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        for other in imported(FILES[name]):
            reach(other, (*path, name))

    for name in FILES:
        reach(name, ())
