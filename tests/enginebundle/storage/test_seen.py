"""What this machine remembers of evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.format.evidence import LAST
from enginebundle.format.spec import Target
from enginebundle.storage.seen import remember, seen

INDEX, OTHER = digest_bytes(b"index"), digest_bytes(b"other")
ME, YOU = digest_bytes(b"me"), digest_bytes(b"you")
CPU, GROUP = Target.parse("torch:cpu"), Target.parse("rtx:sm_80+sm_86")


def test_the_highest_number_of_each_key_and_target_is_remembered() -> None:
    assert seen(INDEX, Target.parse) == {}
    for numbers in ({(CPU, ME): 2, (GROUP, ME): 10}, {(CPU, ME): 1, (CPU, YOU): 5}):
        remember(INDEX, numbers)
    assert seen(INDEX, Target.parse) == {(CPU, ME): 2, (GROUP, ME): 10, (CPU, YOU): 5}
    remember(INDEX, {(GROUP, ME): 9})
    assert seen(INDEX, Target.parse)[GROUP, ME] == 10, "numbers, not words"
    assert seen(OTHER, Target.parse) == {}


def test_zero_is_a_number_that_was_seen() -> None:
    remember(INDEX, {(CPU, ME): 0})
    assert seen(INDEX, Target.parse) == {(CPU, ME): 0}


@pytest.mark.parametrize(
    "name", [".DS_Store", "{target}/notes.txt", "{target}/{key}/Icon", "x/{key}/9"]
)
def test_a_stray_file_takes_nothing_away(name: str, home: Path) -> None:
    remember(INDEX, {(CPU, ME): 3, (GROUP, YOU): 4})
    stray = name.format(target=CPU, key=ME.removeprefix("sha256:"))
    path = home / "seen" / INDEX.removeprefix("sha256:") / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert seen(INDEX, Target.parse) == {(CPU, ME): 3, (GROUP, YOU): 4}


def test_it_lies_in_the_users_home(home: Path) -> None:
    remember(INDEX, {(CPU, ME): 3})
    parts = [digest.removeprefix("sha256:") for digest in (INDEX, ME)]
    path = home / "seen" / parts[0] / str(CPU) / parts[1] / "3"
    assert path.read_bytes() == b""
    assert [p for p in home.rglob("*") if p.is_file()] == [path]


def test_where_one_number_can_t_be_written_the_others_are(home: Path) -> None:
    blocked = home / "seen" / INDEX.removeprefix("sha256:") / str(CPU)
    blocked.parent.mkdir(parents=True)
    blocked.write_bytes(b"")
    remember(INDEX, {(CPU, ME): 3, (GROUP, ME): 4})
    blocked.unlink()
    assert seen(INDEX, Target.parse) == {(GROUP, ME): 4}


def test_a_home_that_can_t_be_used_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", "/proc/no-such-home")
    remember(INDEX, {(CPU, ME): 3})
    assert seen(INDEX, Target.parse) == {}


def test_a_folder_that_can_t_be_read_remembers_nothing(home: Path) -> None:
    loop = home / "seen" / INDEX.removeprefix("sha256:")
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop.name)
    remember(INDEX, {(CPU, ME): 3})
    assert seen(INDEX, Target.parse) == {}


@pytest.mark.parametrize("part", [".", "seen", "seen/{index}"])
def test_a_home_may_be_spread_over_other_disks_by_links(
    part: str, home: Path, tmp_path: Path
) -> None:
    """It is the user's own, unlike a store."""
    link = home / part.format(index=INDEX.removeprefix("sha256:"))
    link.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = tmp_path / "another disk"
    elsewhere.mkdir()
    link.symlink_to(elsewhere)
    remember(INDEX, {(CPU, ME): 3})
    assert seen(INDEX, Target.parse) == {(CPU, ME): 3}
    assert [path.name for path in elsewhere.rglob("*") if path.is_file()] == ["3"]


@pytest.mark.parametrize("beyond", [LAST + 1, -1, 10**30])
def test_numbers_that_no_evidence_has_are_not_remembered(beyond: int) -> None:
    remember(INDEX, {(CPU, ME): LAST})
    remember(INDEX, {(CPU, ME): beyond, (CPU, YOU): beyond})
    assert seen(INDEX, Target.parse) == {(CPU, ME): LAST}
