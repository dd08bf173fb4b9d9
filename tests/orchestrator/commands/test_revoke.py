"""`kiln revoke`, and what the other commands make of what is revoked."""

from __future__ import annotations

import json

import pytest

from enginebundle.errors import BundleError
from enginebundle.format.digest import digest_bytes
from enginebundle.serve.loader import open_bundle
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import publish


def test_a_version_is_refused_until_that_is_undone(store, kiln, capsys):
    second = store.resolve("tiny@2")
    assert kiln("revoke", "--bundle", "tiny@2") == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [f"list 1 of what is revoked in {store.uri}:", f"  {second.digest}"]
    with pytest.raises(BundleError, match=r"tiny@2, index sha256:.* is revoked"):
        open_bundle(f"{store.uri}/tiny")
    for command in (["inspect", "tiny"], ["validate", "tiny", "--target", "torch:cpu"],
                    ["alias", "tiny@2"]):  # fmt: skip
        assert kiln(*command) == 1
        assert "revoked by list 1" in capsys.readouterr().err
    assert kiln("list") == 0
    out = capsys.readouterr().out
    assert "revoked by list 1" in out
    assert "tiny@1" in out
    assert kiln("alias", "tiny@1") == 0
    assert open_bundle(f"{store.uri}/tiny").version.number == 1
    assert kiln("revoke", "--bundle", f"tiny@{second.digest}", "--undo") == 0
    assert open_bundle(f"{store.uri}/tiny@2").version.number == 2


def test_a_stolen_key_is_revoked_with_a_new_one(store, kiln, home, capsys):
    """As docs/operations.md has it: the new key is trusted, the old one's versions are refused."""
    old = default_signer().key_id
    assert kiln("revoke", "--key", old) == 2
    assert "can't revoke itself" in capsys.readouterr().err
    (home / "key.pem").rename(home / "old.pem")
    assert kiln("revoke", "--key", old, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"list": 1, "keys": [old], "indexes": []}
    for name in ("tiny", "tiny@1"):
        with pytest.raises(BundleError, match=f"signed by key {old}, which is revoked"):
            open_bundle(f"{store.uri}/{name}")
    assert kiln("list", "-o", "json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert all("which is revoked" in entry["refused"] for entry in entries)
    third = publish(store, label="three")
    assert open_bundle(f"{store.uri}/tiny").version == third
    (home / "old.pem").rename(home / "key.pem")
    assert kiln("revoke", "--key", old, "--undo") == 1
    assert "is revoked, and can't sign another list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--key", "laptop"], "expected sha256:HEX"),
        (["--bundle", "tiny"], "expected NAME@VERSION"),
        (["--bundle", "tiny@9"], "no version 9"),
        (["--bundle", "../tiny@1"], "expected letters"),
    ],
)
def test_what_it_refuses(store, kiln, capsys, given, message):
    assert kiln("revoke", *given) == 2
    assert message in capsys.readouterr().err
    assert store.honour().denied == {}


def test_a_version_may_be_revoked_before_it_is_there(store, kiln):
    digest = digest_bytes(b"to come")
    assert kiln("revoke", "--bundle", f"tiny@{digest}") == 0
    assert set(store.honour().denied) == {digest}
