"""A reference that names a version: whatever else lies in the store, it is that one or an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import BundleError, IntegrityError
from enginebundle.format.digest import canonical_json, parse_json
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.loader import open_bundle
from tests.attacks.victim import Victim
from tests.enginebundle.examples import publish


@pytest.fixture
def other(victim: Victim, tmp_path: Path) -> Path:
    """An export of another version, signed with the same key."""
    second = publish(victim.store, label="second", alias="second")
    return export(Bundle.open(victim.store, second), tmp_path / "other")


@pytest.mark.parametrize("asked", ["tiny@{digest}", "tiny@1", "tiny:latest", "tiny"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_of_that_name_inside_the_store_does_not_win(
    victim: Victim, other: Path, asked: str, linked: bool
) -> None:
    name = asked.format(digest=victim.index.digest)
    if linked:
        (victim.root / name).symlink_to(other)
    else:
        shutil.copytree(other, victim.root / name)
    for reference in (
        f"{victim.root}/{name}",
        f"{victim.root}/./{name}/",
        f"file://{victim.root}/{name}",
    ):
        try:
            found = open_bundle(reference)
        except BundleError:
            assert reference.endswith("/") or reference.startswith("file")
            continue
        assert found.version.digest == victim.index.digest
    assert open_bundle(victim.root / name).version.digest == victim.index.digest


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("tiny@{digest}", "expected the digest sha256:"),
        ("tiny@1", "expected the version 1, got 2 of tiny@2"),
        ("large:latest", "expected the name large, got tiny of tiny@2"),
        ("large@2", "expected the name large, got tiny of tiny@2"),
    ],
)
def test_an_exported_folder_that_is_named_like_another_version(
    victim: Victim, other: Path, tmp_path: Path, folder: str, message: str
) -> None:
    place = tmp_path / "exports" / folder.format(digest=victim.index.digest)
    shutil.copytree(other, place)
    with pytest.raises(IntegrityError, match=message):
        enginebundle.load(place, allow_pending=True)


def test_an_exported_folder_under_its_own_or_any_plain_name(
    victim: Victim, other: Path, tmp_path: Path
) -> None:
    second = victim.store.resolve("tiny@2")
    for name in (f"tiny@{second.digest}", "tiny@2", "tiny:prod", "anything"):
        place = tmp_path / "exports" / name
        shutil.copytree(other, place)
        assert open_bundle(place).version == second


def test_a_record_that_moved_between_two_reads(victim: Victim, other: Path) -> None:
    """The version file is replaced by that of another version: its digest was not asked for."""
    asked = victim.store.resolve(f"tiny@{victim.index.digest}")
    second = parse_json((victim.root / "bundles/tiny/versions/2.json").read_bytes())
    victim.record.write_bytes(canonical_json(second))
    with pytest.raises(BundleError):
        Bundle.open(victim.store, asked)
    with pytest.raises(BundleError, match="no index sha256:"):
        open_bundle(f"{victim.root}/tiny@{victim.index.digest}")
