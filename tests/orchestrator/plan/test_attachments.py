"""Files that a manifest attaches: which count, what their keys are, and what is put into the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enginebundle.errors import StoreError
from enginebundle.format.digest import digest_bytes
from enginebundle.storage.store import Store
from orchestrator.plan.attachments import BadAttachments, attached
from orchestrator.plan.keys import key
from orchestrator.plan.task_id import TaskId
from orchestrator.plan.tasks import tasks
from orchestrator.run.attach import attach
from tests.orchestrator.examples import CONTENT, INSTALLED, MODEL, OUTPUTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tok" / "sub").mkdir(parents=True)
    for name in ("labels.txt", "tok/b.json", "tok/a.json", "tok/sub/c", "tok/.git", "tok/sub/.d"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_is_its_files_that_are_not_hidden(folder: Path) -> None:
    found = attached([("tokenizer", folder / "tok"), ("names.txt", folder / "labels.txt")])
    assert {name: one["path"] for name, one in found.items()} == {
        "names.txt": str(folder / "labels.txt"),
        "tokenizer/a.json": str(folder / "tok/a.json"),
        "tokenizer/b.json": str(folder / "tok/b.json"),
        "tokenizer/sub/c": str(folder / "tok/sub/c"),
    }
    assert found["names.txt"]["digest"] == digest_bytes(b"labels.txt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", "none")], "no file or folder .*none"),
        ([("a", "empty")], "no files in the folder"),
        ([("../a", "labels.txt")], "expected letters"),
        ([("a", "labels.txt"), ("a/b", "labels.txt")], "a file and a folder"),
        ([("a", "odd")], "expected letters"),
    ],
)
def test_what_can_not_be_attached(folder: Path, given: list[Any], message: str) -> None:
    for name in ("empty", "odd"):
        (folder / name).mkdir()
    (folder / "odd" / "a b").write_text("")
    with pytest.raises(BadAttachments, match=message):
        attached([(name, folder / path) for name, path in given])


def test_what_is_put_is_what_was_planned(folder: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", create=True)
    found = attached([("l", folder / "labels.txt")])
    digests, paths = ({n: one[part] for n, one in found.items()} for part in ("digest", "path"))
    assert attach(store, digests, paths) == {"l": (digests["l"], 10)}
    assert store.read_blob(digests["l"]) == b"labels.txt"
    (folder / "labels.txt").write_text("other")
    with pytest.raises(StoreError, match="changed since this was planned; run again"):
        attach(store, digests, paths)
    (folder / "labels.txt").unlink()
    with pytest.raises(StoreError, match="attachment 'l'"):
        attach(store, digests, paths)


def keys_with(attachments: dict[str, Any]) -> dict[str, str]:
    made = tasks(MODEL, CONTENT | {"attachments": attachments}, INSTALLED, ("cpu",))
    return {
        task.task_id.role: key(
            task, {need: OUTPUTS[TaskId.parse(need).step] for need in task.needs}
        )
        for task in made
    }


def test_only_the_publication_depends_on_content_and_names() -> None:
    one = {"l": {"path": "/a/l", "digest": "sha256:1"}}
    base = keys_with(one)
    for other, changes in (
        ({"l": {"path": "/b/l", "digest": "sha256:1"}}, set()),
        ({"l": {"path": "/a/l", "digest": "sha256:2"}}, {"publish"}),
        ({"m": {"path": "/a/l", "digest": "sha256:1"}}, {"publish"}),
        ({}, {"publish"}),
    ):
        now = keys_with(other)
        assert {role for role in base if base[role] != now[role]} == changes


def test_a_publication_without_any_says_nothing_of_them() -> None:
    content = {name: one for name, one in CONTENT.items() if name != "attachments"}
    for task in tasks(replace(MODEL), content, INSTALLED, ("cpu",)):
        assert not any("attachment" in name for name in task.spec)
