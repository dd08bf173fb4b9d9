"""Machines without a home, folders of keys that are none, and names that no file can have."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import BundleError, FormatError, StoreError, UntrustedError
from enginebundle.storage.home import cache_folder, home
from enginebundle.storage.trust import Trust, default_signer
from tests.attacks.victim import Victim
from tests.enginebundle.examples import CPU

NOBODY = 54321
"""A number that no user of this machine has, as a container may be run under."""
PROGRAM = """
import os, sys
import cryptography.hazmat.primitives.asymmetric.ed25519
from enginebundle import BundleError
from enginebundle.serve.loader import open_bundle
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
try:
    print(open_bundle(sys.argv[2], *sys.argv[3:]).version)
except BundleError as error:
    print(type(error).__name__, error)
"""


def as_nobody(*arguments: object, **environment: str) -> str:
    """What a process says that imports as we do, and then is nobody: it could not read our packages."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(NOBODY), *map(str, arguments)],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may read, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a home")
def test_a_container_under_a_number_that_no_user_has(
    victim: Victim, home: Path, public: Path
) -> None:
    shutil.copytree(victim.root, public / "store")
    shutil.copytree(home / "trusted", public / "home/trusted")
    for path in public.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    reference, keys = public / "store/tiny", public / "home/trusted"
    assert as_nobody(reference).startswith("StoreError this user has no home folder")
    assert "set HOME, or ENGINEBUNDLE_HOME to a folder" in as_nobody(reference)
    assert as_nobody(reference, keys) == "tiny@1"
    assert as_nobody(reference, ENGINEBUNDLE_HOME=str(public / "home")) == "tiny@1"
    assert "which holds no keys" in as_nobody(reference, HOME="/nowhere")
    assert "Could not determine home" in as_nobody("~/store/tiny", keys)
    keys.chmod(0o700)
    assert "can't be read: Permission denied" in as_nobody(reference, keys)
    (public / "store/store.json").chmod(0o600)
    assert "can't read store.json: Permission denied" in as_nobody(reference, keys.parent)


def test_no_home(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust.default()
    monkeypatch.delenv("ENGINEBUNDLE_HOME")
    monkeypatch.delenv("ENGINEBUNDLE_CACHE")

    def none(_: object = None) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    for ask in (home, default_signer, Trust.default, lambda: victim.load()):
        with pytest.raises(StoreError, match="set HOME, or ENGINEBUNDLE_HOME to a folder"):
            ask()
    with pytest.raises(StoreError, match="set HOME, or ENGINEBUNDLE_CACHE to a folder"):
        cache_folder()
    assert enginebundle.load(f"{victim.root}/tiny", trust=trust).target == CPU
    with pytest.raises(
        UntrustedError, match="into the folder of trusted keys, which holds no keys"
    ):
        enginebundle.load(f"{victim.root}/tiny", trust=Trust.of())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "expected a folder of .pub files, got an empty path"),
        ("{tmp}/typo", r"/typo can't be read: No such file or directory\. Check the path"),
        ("{home}/key.pem", "key.pem can't be read: Not a directory"),
        ("{tmp}/\0", "can't be read: embedded null byte"),
        ("{tmp}/" + "x" * 5000, "can't be read: File name too long"),
        ("~nobody_of_that_name/keys", "Could not determine home"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_keys_that_is_none(
    victim: Victim, tmp_path: Path, home: Path, path: str, message: str, kind: type
) -> None:
    if kind is Path and not path:
        path, message = "{tmp}/empty", "into .*/empty, which holds no keys"
        (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=message):
        enginebundle.load(f"{victim.root}/tiny", trust=kind(path.format(tmp=tmp_path, home=home)))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"rsa AAAA", b"ed25519 AAAA", "ed25519 é".encode(), b"x" * 99_999]
)
def test_a_damaged_key_beside_a_good_one(
    victim: Victim, home: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "trusted" / "0.pub").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        victim.load()
    assert "0.pub is left out" in caplog.text


@pytest.mark.parametrize(
    "reference",
    [
        "", ".", "..", "/", "//", "@", ":", "a@", "tiny\0", "\0/tiny", "x" * 5000, "a/" * 3000, "\ud800/tiny",
        "{root}/\ud800", "{root}/tiny@\ud800", "{root}/tiny:\0", "{root}/" + "x" * 300, "{root}/tiny@" + "9" * 5000,
        "{root}/tiny@sha256:", "{root}/tiny@0", "{root}/tiny@-1", "{root}/tiny@²", "{root}/tıny", "{root}/tiny:x@y",
        "file://", "file:///", "file://host/x/tiny", "file:///\0/tiny", "file://[/tiny", "s3:///tiny", "s3://b",
        "s3://\0/x/tiny", "s3://bucket/x/tiny?endpoint_override=\ud800", "gs://b c/x/tiny", "ftp://x/tiny",
        "~nobody_of_that_name/store/tiny", "http://[::1/tiny", "{root}/store.json/tiny", "/dev/zero/tiny", "/dev/zero",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [str, Path])
def test_a_reference_that_no_bundle_can_have(victim: Victim, reference: str, kind: type) -> None:
    with pytest.raises(BundleError):
        enginebundle.load(kind(reference.replace("{root}", str(victim.root))))


@pytest.mark.parametrize(
    "target", ["", ":", "torch:", "torch:cpu+cpu+", "rtx:sm_\ud800", "trt:sm_²", "x" * 9999]
)
def test_a_target_that_is_none(victim: Victim, target: str) -> None:
    with pytest.raises(FormatError):
        enginebundle.load(f"{victim.root}/tiny", target=target)
