"""`kiln alias`, and what `kiln list` says of aliases that no loader here follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from enginebundle.errors import BundleError
from enginebundle.format.digest import canonical_json
from enginebundle.format.signing import Signer
from enginebundle.serve.loader import open_bundle


def number(store, name="tiny"):
    return open_bundle(f"{store.uri}/{name}").version.number


def moves(store, alias="latest"):
    return Path(store.uri) / "bundles/tiny/aliases" / alias


def test_it_moves_latest_and_makes_others(store, kiln, capsys):
    assert kiln("alias", "tiny@1") == 0
    assert capsys.readouterr().out == "tiny:latest is version 1 (move 3)\n"
    assert kiln("alias", "tiny@2", "prod") == 0
    assert (number(store), number(store, "tiny:prod")) == (1, 2)
    digest = store.resolve("tiny@1").digest
    assert kiln("alias", f"tiny@{digest}", "prod", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert told == {"alias": "tiny:prod", "version": 1, "sequence": 2, "expires": ""}


def test_what_stands_already_is_not_signed_again(store, kiln, capsys):
    for _ in range(3):
        assert kiln("alias", "tiny@2") == 0
    assert capsys.readouterr().out == "tiny:latest is version 2 (move 2)\n" * 3
    assert len(list(moves(store).iterdir())) == 2


def test_days_are_kept_until_told_otherwise(store, kiln, capsys):
    def lifetime():
        move = store.move(store.pointer("tiny", "latest"))
        return None if move.lifetime is None else move.lifetime.days

    assert kiln("alias", "tiny@2", "--valid-days", "30") == 0
    assert "tiny:latest is version 2 (move 3), until 20" in capsys.readouterr().out
    assert lifetime() == 30
    assert kiln("alias", "tiny@1") == 0
    assert lifetime() == 30
    assert kiln("alias", "tiny@1", "--valid-days", "0") == 0
    assert lifetime() is None
    for wrong in ("-1", "nan", "inf", "x", "1e9"):
        with pytest.raises(SystemExit):
            kiln("alias", "tiny@1", "--valid-days", wrong)


def test_an_alias_of_before_they_were_signed(store, kiln, capsys):
    (moves(store) / "3.json").write_bytes(canonical_json({"version": 2}))
    with pytest.raises(BundleError, match="is not signed"):
        number(store)
    assert kiln("list") == 0
    out = capsys.readouterr().out
    assert "tiny@2" in out
    assert "latest  " not in out
    assert "alias tiny:latest points at version 2 and is not signed" in out
    assert kiln("inspect", "tiny") == 1
    assert "`kiln alias tiny@2 latest`" in capsys.readouterr().err
    assert kiln("alias", "tiny@2", "latest") == 0
    assert number(store) == 2
    capsys.readouterr()
    assert kiln("list", "-o", "json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(e["version"], e["aliases"], e["unfollowed"]) for e in entries] == [
        (1, [], {}), (2, ["latest"], {}),
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["inspect", "validate"])
def test_a_store_that_was_set_back_is_said_in_a_line(store, kiln, capsys, command):
    (moves(store) / "2.json").unlink()
    more = ["--target", "torch:cpu"] if command == "validate" else []
    assert kiln(command, "tiny", *more) == 1
    assert "this machine has seen move 2: the store was set back" in capsys.readouterr().err
    assert kiln("list", "-o", "json") == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first["aliases"] == []
    assert "has seen move 2" in first["unfollowed"]["latest"]


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("tiny", 2, "expected NAME@VERSION"),
        ("tiny:latest", 2, "expected NAME@VERSION"),
        ("tiny@7", 2, "no version 7"),
        ("large@1", 2, "no bundle 'large'"),
        ("../tiny@1", 2, "expected letters"),
    ],
)
def test_what_it_refuses(store, kiln, capsys, reference, code, message):
    assert kiln("alias", reference) == code
    assert message in capsys.readouterr().err
    assert number(store) == 2


def test_a_version_that_is_not_trusted_here_gets_no_alias(store, kiln, capsys):
    raw = store.read_index(store.resolve("tiny@1"))[0].replace(b'"one"', b'"six"')
    store.publish("tiny", raw, Signer.generate().sign(raw))
    assert kiln("alias", "tiny@3") == 1
    assert "not trusted here" in capsys.readouterr().err
    assert number(store) == 2
