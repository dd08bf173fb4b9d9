"""Files in a local folder: whole or not at all, the first creator wins, and errors that say what to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enginebundle.errors import FormatError, StoreError, UnreadableError
from enginebundle.storage.base import Entry
from enginebundle.storage.local import LocalStorage


@pytest.fixture
def files(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_put_is_there_and_can_be_replaced(files: LocalStorage) -> None:
    files.put("a/b/c", b"one")
    files.put("a/b/c", memoryview(b"two!"))
    assert files.get("a/b/c") == b"two!"
    assert files.size("a/b/c") == 4
    assert files.local("a/b/c") == files.root / "a/b/c"
    assert mode(files.root / "a/b/c") == 0o644


def test_the_first_to_create_a_file_decides_its_content(files: LocalStorage) -> None:
    assert files.create("a/b", b"one") == b"one"
    assert files.create("a/b", b"two") == b"one"
    assert files.get("a/b") == b"one"
    assert mode(files.root / "a/b") == 0o644
    assert files.create("secret", b"s", mode=0o600) == b"s"
    assert mode(files.root / "secret") == 0o600


def test_of_many_creators_at_once_all_get_one_content(files: LocalStorage) -> None:
    for name in map(str, range(20)):
        with ThreadPoolExecutor(8) as threads:
            found = set(threads.map(lambda n: files.create(name, b"%d" % n), range(8)))  # noqa: B023
        assert found == {files.get(name)}


def test_a_file_is_replaced_only_if_it_holds_what_the_writer_last_saw(files: LocalStorage) -> None:
    files.put("other", b"")
    assert not files.replace("a/b", b"one", b"two")
    assert files.get("a/b") is None
    files.put("a/b", b"one")
    assert files.replace("a/b", b"one", b"two")
    assert not files.replace("a/b", b"one", b"three"), "another was first"
    assert files.get("a/b") == b"two"
    assert files.replace("a/b", b"one", b"two"), "it holds what is wanted, whoever wrote that"
    assert mode(files.root / "a/b") == 0o644
    assert files.files("a") == ["a/b"]


def test_of_many_replacements_at_once_one_counts(files: LocalStorage) -> None:
    files.put("n", b"0")
    for last in range(20):
        with ThreadPoolExecutor(8) as threads:
            old, wanted = b"%d" % last, [b"%d" % (last + 1) + b" " * n for n in range(8)]
            won = list(threads.map(lambda data: files.replace("n", old, data), wanted))  # noqa: B023
        assert sum(won) == 1
        assert files.get("n") == wanted[won.index(True)]
        files.put("n", b"%d" % (last + 1))


def test_a_file_that_is_removed_while_it_is_replaced_is_there_or_not(files: LocalStorage) -> None:
    """A removal between the look and the write would be undone by the write."""
    for _ in range(50):
        files.put("n", b"0")
        with ThreadPoolExecutor(2) as threads:
            replaced = threads.submit(files.replace, "n", b"0", b"1")
            threads.submit(files.remove, "n").result()
        replaced.result()
        assert files.get("n") is None


def test_nothing_half_written_is_left_or_shown(files: LocalStorage) -> None:
    files.put("a/b", b"one")
    files.create("a/c", b"two")
    files.create("a/c", b"three")
    assert os.listdir(files.root / "a") == sorted(["b", "c"]) or set(
        os.listdir(files.root / "a")
    ) == {"b", "c"}
    (files.root / "a" / ".tmp-killed").write_bytes(b"half")
    assert files.files("a") == ["a/b", "a/c"]
    assert files.children("a") == ["b", "c"]
    assert [entry.path for entry in files.entries("a")] == ["a/.tmp-killed", "a/b", "a/c"]


def test_what_does_not_exist_is_none_or_empty(files: LocalStorage) -> None:
    files.put("file", b"")
    for path in ("no", "no/such", "file/below"):
        assert files.get(path) is None
        assert files.size(path) is None
        assert files.files(path) == []
        assert files.children(path) == []
        assert files.entries(path) == []
    files.touch("no/such")
    files.remove("no")
    assert files.size("file") == 0


def test_lists_are_sorted_and_reach_any_depth(files: LocalStorage) -> None:
    for path in ("t/b/z", "t/b/a/x", "t/a", "t/c", "other/q"):
        files.put(path, path.encode())
    assert files.files("t") == ["t/a", "t/b/a/x", "t/b/z", "t/c"]
    assert files.children("t") == ["a", "b", "c"]
    assert [(e.path, e.size) for e in files.entries("t")] == [
        ("t/a", 3), ("t/b/a/x", 7), ("t/b/z", 5), ("t/c", 3),
    ]  # fmt: skip


def test_a_file_tells_when_it_was_written_and_a_touch_is_a_write(files: LocalStorage) -> None:
    files.put("t/a", b"one")
    os.utime(files.root / "t/a", (1000, 1000))
    assert files.entries("t") == [Entry("t/a", 3, 1000.0)]
    files.touch("t/a")
    assert files.entries("t")[0].modified > 1e9


def test_a_removed_file_is_gone(files: LocalStorage) -> None:
    files.put("t/a", b"one")
    files.remove("t/a")
    files.remove("t/a")
    assert files.get("t/a") is None


OPERATIONS: dict[str, Callable[[LocalStorage, str], object]] = {
    "get": lambda files, path: files.get(path),
    "put": lambda files, path: files.put(path, b""),
    "create": lambda files, path: files.create(path, b""),
    "replace": lambda files, path: files.replace(path, b"", b"other"),
    "size": lambda files, path: files.size(path),
    "files": lambda files, path: files.files(path),
    "entries": lambda files, path: files.entries(path),
    "remove": lambda files, path: files.remove(path),
    "touch": lambda files, path: files.touch(path),
    "children": lambda files, path: files.children(path),
    "local": lambda files, path: files.local(path),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_path_leaves_the_folder(name: str, files: LocalStorage) -> None:
    for path in ("../x", "a/../../x", "/etc/passwd", "a//b", "", "a\\b", "a\0b"):
        with pytest.raises(FormatError):
            OPERATIONS[name](files, path)


@pytest.mark.parametrize(
    ("name", "verb", "path"),
    [
        ("put", "write", "file/below"),
        ("put", "write", "folder"),
        ("create", "write", "file/below"),
        ("size", "read", "n" * 300),
        ("remove", "remove", "folder"),
        ("touch", "write", "file/below"),
        ("children", "list", "n" * 300),
        ("files", "list", "n" * 300),
        ("entries", "list", "n" * 300),
        ("files", "list", "loop"),
        ("entries", "list", "loop"),
    ],
)
def test_an_operating_systems_refusal_says_what_where_and_what_would_help(
    name: str, verb: str, path: str, files: LocalStorage
) -> None:
    files.put("file", b"")
    files.put("folder/inside", b"")
    (files.root / "loop").symlink_to("loop")
    with pytest.raises(StoreError) as caught:
        OPERATIONS[name](files, path)
    told = str(caught.value)
    assert told.startswith(f"store {files.root}: can't {verb} {path}: ")
    cause = caught.value.__cause__
    assert isinstance(cause, OSError)
    assert told.endswith(
        f": {cause.strerror}. Check that the folder exists, has space and belongs to this user, or name "
        "another store"
    )


def test_no_file_is_replaced_where_there_is_no_folder(files: LocalStorage) -> None:
    with pytest.raises(StoreError, match=r"can't write a/b: No such file or directory"):
        files.replace("a/b", b"one", b"two")


def test_a_file_that_is_gone_before_it_was_looked_at_is_not_listed(
    files: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("t/a", "t/b", "t/c"):
        files.put(name, b"")
    stat = os.stat

    def late(path: str) -> os.stat_result:
        files.remove("t/b")
        return stat(path)

    monkeypatch.setattr(os, "stat", late)
    assert [entry.path for entry in files.entries("t")] == ["t/a", "t/c"]


def test_a_failed_write_leaves_what_was_there_and_nothing_else(files: LocalStorage) -> None:
    files.put("folder/inside", b"one")
    with pytest.raises(StoreError):
        files.put("folder", b"two")
    assert files.get("folder/inside") == b"one"
    assert os.listdir(files.root) == ["folder"]


@pytest.mark.parametrize("link", ["out", "a/out", "a/b/out"])
def test_nothing_is_removed_behind_a_link_that_leads_out(
    link: str, files: LocalStorage, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"x")
    (files.root / link).parent.mkdir(parents=True, exist_ok=True)
    (files.root / link).symlink_to(tmp_path / "outside")
    with pytest.raises(UnreadableError, match=f"can't remove {link}/file: .* leads out"):
        files.remove(f"{link}/file")
    assert (tmp_path / "outside" / "file").exists()
    files.remove(link)
    assert not (files.root / link).is_symlink()
    assert (tmp_path / "outside" / "file").exists()


@pytest.mark.parametrize("path", ["link", "a/link"])
def test_a_link_that_leads_nowhere_is_told(path: str, files: LocalStorage) -> None:
    (files.root / path).parent.mkdir(parents=True, exist_ok=True)
    (files.root / path).symlink_to("nowhere")
    with pytest.raises(
        UnreadableError, match=f"store {files.root}: {path} is a link that leads nowhere"
    ):
        files.create(path, b"x")


def test_only_a_file_has_a_size(files: LocalStorage) -> None:
    files.put("a/b", b"four")
    (files.root / "link").symlink_to("a/b")
    os.mkfifo(files.root / "pipe")
    (files.root / "broken").symlink_to("nowhere")
    sizes = {path: files.size(path) for path in ("a", "a/b", "link", "pipe", "broken", "none")}
    assert sizes == {"a": None, "a/b": 4, "link": 4, "pipe": None, "broken": None, "none": None}


def test_a_link_that_leads_out_has_no_size_and_is_replaced_itself(
    files: LocalStorage, tmp_path: Path
) -> None:
    """Nobody would read what is behind it, so nobody may count on it."""
    (tmp_path / "outside").write_bytes(b"four")
    for path in ("out", "a/out"):
        (files.root / path).parent.mkdir(exist_ok=True)
        (files.root / path).symlink_to(tmp_path / "outside")
        assert files.size(path) is None
        assert LocalStorage(files.root, links=True).size(path) == 4
        files.put(path, b"own")
        assert files.get(path) == b"own"
    assert (tmp_path / "outside").read_bytes() == b"four"


@pytest.mark.parametrize("path", ["out/file", "a/out/file", "file"])
def test_a_link_that_leads_out_is_followed_only_where_links_are_allowed(
    path: str, files: LocalStorage, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"x")
    target = tmp_path / "outside"
    link = files.root / path.removesuffix("/file")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target / "file" if path == "file" else target)
    with pytest.raises(UnreadableError, match=f"can't read {path}: .* is a link that leads out"):
        files.get(path)
    assert LocalStorage(files.root, links=True).get(path) == b"x"


def test_a_link_to_another_place_inside_is_followed(files: LocalStorage) -> None:
    files.put("a/b", b"x")
    (files.root / "link").symlink_to("a")
    assert files.get("link/b") == b"x"


def test_a_file_is_read_up_to_its_limit(files: LocalStorage) -> None:
    files.put("a", b"12345")
    assert files.get("a") == files.get("a", 5) == b"12345"
    with pytest.raises(UnreadableError, match="can't read a: it has 5 bytes, expected at most 4"):
        files.get("a", 4)


@pytest.mark.parametrize("name", ["put", "files", "children"])
def test_a_root_that_is_no_path_is_told(name: str) -> None:
    with pytest.raises(StoreError, match=r"embedded null byte\. Check that the folder exists"):
        OPERATIONS[name](LocalStorage(Path("a\0b"), links=True), "x")
