"""Hostile stores: whoever can write to one can make a load fail, but not make it run anything else.

Each attack starts from a bundle that loads, changes what an attacker could change, and expects a
certain error with its text.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import enginebundle
from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UntrustedError,
)
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.move import Move
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.storage.trust import default_signer
from tests.attacks.victim import Victim, flip
from tests.enginebundle.examples import CPU, publish


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_byte_flipped_in_the_index(victim: Victim, position: int) -> None:
    flip(victim.blob(victim.index.digest), position)
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        victim.load()


def test_a_byte_flipped_in_the_index_with_its_digest_made_right(victim: Victim) -> None:
    raw = bytearray(victim.index.to_bytes())
    raw[raw.index(b"note") + 1] ^= 1
    victim.swap(index=bytes(raw))
    with pytest.raises(IntegrityError, match=r"signature by key .* does not match the"):
        victim.load()


def test_an_index_is_not_parsed_before_its_signature_is_checked(victim: Victim) -> None:
    victim.swap(index=b"[" * 100_000)
    with pytest.raises(IntegrityError, match="signature by key"):
        victim.load()


def test_a_byte_flipped_in_the_signature(victim: Victim) -> None:
    flip(victim.signature, 40)
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        victim.load()
    document = parse_json(default_signer().sign(victim.index.to_bytes()))
    first = "B" if document["signature"][0] != "B" else "C"
    document["signature"] = first + document["signature"][1:]
    victim.swap(signature=canonical_json(document))
    with pytest.raises(IntegrityError, match="does not match"):
        victim.load()


def test_a_signature_over_something_else(victim: Victim) -> None:
    victim.swap(signature=default_signer().sign(b"something else"))
    with pytest.raises(IntegrityError, match="does not match"):
        victim.load()


@pytest.mark.parametrize("text", ["é", "\u2028" * 88, "=" * 88, "", 7, None, ["A" * 88]])
def test_a_signature_that_is_no_base64(victim: Victim, text: object) -> None:
    document = parse_json(default_signer().sign(victim.index.to_bytes()))
    victim.swap(signature=canonical_json(document | {"signature": text}))
    with pytest.raises(FormatError, match="signature: "):
        victim.load()


def test_a_signature_by_an_unknown_key(victim: Victim) -> None:
    victim.swap(signature=Signer.generate().sign(victim.index.to_bytes()))
    with pytest.raises(UntrustedError, match="which is not trusted here"):
        victim.load()


@pytest.mark.parametrize("which", ["graph", "weights"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "empty"])
def test_a_damaged_blob(victim: Victim, which: str, damage: str) -> None:
    segment = victim.index.variants[0].parts[0].segments[0]
    path = victim.blob(segment.blob if which == "graph" else str(segment.weights))
    data = path.read_bytes()
    if damage == "flip":
        flip(path)
    else:
        path.write_bytes({"truncate": data[:-7], "extend": data + b"\0", "empty": b""}[damage])
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        victim.load()


def test_a_missing_blob(victim: Victim) -> None:
    victim.blob(victim.index.variants[0].parts[0].segments[0].blob).unlink()
    with pytest.raises(NotFoundError, match=r"has no blob sha256:.*publish or copy it again"):
        victim.load()


def test_evidence_with_a_flipped_byte_or_for_another_bundle(victim: Victim) -> None:
    assert victim.store.evidence(victim.store.resolve("tiny"))
    for path in victim.root.glob("bundles/tiny/evidence/*/*/*.json"):
        record = parse_json(path.read_bytes())
        document = victim.store.read_blob(record["evidence"])
        forged = document.replace(b'"passed":true', b'"passed":false')
        record["evidence"] = victim.store.put_blob(forged)
        path.write_bytes(canonical_json(record))
    with pytest.raises(
        BundleError, match="evidence is missing: number 1, which the key's head names"
    ):
        enginebundle.load(f"{victim.root}/tiny", allow_pending=True)


def test_evidence_copied_from_another_version_counts_nothing(victim: Victim) -> None:
    second = publish(victim.store, label="second")
    for data, signature in victim.store.evidence(victim.store.resolve("tiny@1")):
        victim.store.put_evidence(second, CPU, data, signature)
    with pytest.raises(BundleError, match="pending: no key trusted here"):
        enginebundle.load(f"{victim.root}/tiny@2")


def test_evidence_is_no_index_and_an_index_no_evidence(victim: Victim) -> None:
    version = victim.store.resolve("tiny@1")
    ((evidence, signature),) = victim.store.evidence(version)
    victim.swap(index=evidence, signature=signature)
    with pytest.raises(FormatError, match=r"expected a document of format 'enginebundle\.index/1'"):
        victim.load()


@pytest.mark.parametrize("key", ["index", "signature"])
@pytest.mark.parametrize(
    "value", ["../../../../etc/passwd", "sha256:../../x", "/etc/passwd", 7, None]
)
def test_a_record_that_names_a_path(victim: Victim, key: str, value: object) -> None:
    record = parse_json(victim.record.read_bytes()) | {key: value}
    victim.record.write_bytes(canonical_json(record))
    with pytest.raises(FormatError, match=f"expected a digest as {key}"):
        victim.load()


@pytest.mark.parametrize(
    "reference", ["../tiny", "tiny@../1", "tiny:../prod", "tiny@sha256:../x", "tiny\0", ".", ".."]
)
def test_a_reference_that_leaves_the_store(victim: Victim, reference: str) -> None:
    with pytest.raises(FormatError, match="expected"):
        victim.store.resolve(reference)


def test_an_alias_to_a_version_that_is_not_there(victim: Victim) -> None:
    move = victim.root / "bundles/tiny/aliases/latest/2.json"
    signed = Move("tiny", "latest", 2, 9, victim.index.digest, "2026-11-01T00:00:00Z").to_bytes()
    record = {"version": 9, "move": signed.decode()}
    record["signature"] = default_signer().sign(signed).decode()
    move.write_bytes(canonical_json(record))
    with pytest.raises(NotFoundError, match=r"no version 9 of 'tiny'; it has versions \[1\]"):
        victim.load("tiny")
    for wrong in ('"../1"', "0", "true", "1.5", "1e3", "99999999999999999999", "null"):
        move.write_text('{"version":' + wrong + "}")
        with pytest.raises(FormatError, match="expected a version number"):
            victim.load("tiny")


def test_an_export_whose_marker_names_a_path(victim: Victim, tmp_path: Path) -> None:
    bundle = Bundle.open(victim.store, victim.store.resolve("tiny"))
    folder = export(bundle, tmp_path / "copy")
    marker = folder / "bundle.json"
    value = parse_json(marker.read_bytes())
    for change in ({"name": "../tiny"}, {"index": "../../x"}, {"index": digest_bytes(b"x")}):
        marker.write_bytes(canonical_json(value | change))
        with pytest.raises(BundleError):
            enginebundle.load(folder)
