"""Hostile stores: whoever writes into one can make a load fail, never make it run something else.

Each attack starts from a bundle that loads, changes what an attacker could change, and names the
error that has to come, with its text.
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
from enginebundle.format.signing import Signer
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.storage.trust import default_signer
from tests.attacks.victim import Target, flip
from tests.enginebundle.examples import CPU, publish


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_byte_flipped_in_the_index(target: Target, position: int) -> None:
    flip(target.blob(target.index.digest), position)
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        target.load()


def test_a_byte_flipped_in_the_index_with_its_digest_made_right(target: Target) -> None:
    raw = bytearray(target.index.to_bytes())
    raw[raw.index(b"note") + 1] ^= 1
    target.swap(index=bytes(raw))
    with pytest.raises(IntegrityError, match=r"signature by key .* does not match the"):
        target.load()


def test_an_index_is_not_parsed_before_its_signature_is_checked(target: Target) -> None:
    target.swap(index=b"[" * 100_000)
    with pytest.raises(IntegrityError, match="signature by key"):
        target.load()


def test_a_byte_flipped_in_the_signature(target: Target) -> None:
    flip(target.signature, 40)
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        target.load()
    document = parse_json(default_signer().sign(target.index.to_bytes()))
    first = "B" if document["signature"][0] != "B" else "C"
    document["signature"] = first + document["signature"][1:]
    target.swap(signature=canonical_json(document))
    with pytest.raises(IntegrityError, match="does not match"):
        target.load()


def test_a_signature_over_something_else(target: Target) -> None:
    target.swap(signature=default_signer().sign(b"something else"))
    with pytest.raises(IntegrityError, match="does not match"):
        target.load()


def test_a_signature_by_an_unknown_key(target: Target) -> None:
    target.swap(signature=Signer.generate().sign(target.index.to_bytes()))
    with pytest.raises(UntrustedError, match="which is not trusted here"):
        target.load()


@pytest.mark.parametrize("which", ["graph", "weights"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "empty"])
def test_a_damaged_blob(target: Target, which: str, damage: str) -> None:
    segment = target.index.variants[0].parts[0].segments[0]
    path = target.blob(segment.blob if which == "graph" else str(segment.weights))
    data = path.read_bytes()
    if damage == "flip":
        flip(path)
    else:
        path.write_bytes({"truncate": data[:-7], "extend": data + b"\0", "empty": b""}[damage])
    with pytest.raises(IntegrityError, match="expected content sha256:"):
        target.load()


def test_a_missing_blob(target: Target) -> None:
    target.blob(target.index.variants[0].parts[0].segments[0].blob).unlink()
    with pytest.raises(NotFoundError, match=r"has no blob sha256:.*publish or copy it again"):
        target.load()


def test_evidence_with_a_flipped_byte_or_for_another_bundle(target: Target) -> None:
    assert target.store.evidence(target.store.resolve("tiny"))
    for path in target.root.glob("bundles/tiny/evidence/*/*/*.json"):
        record = parse_json(path.read_bytes())
        document = target.store.read_blob(record["evidence"])
        forged = document.replace(b'"passed":true', b'"passed":false')
        record["evidence"] = target.store.put_blob(forged)
        path.write_bytes(canonical_json(record))
    with pytest.raises(BundleError, match="no key trusted here has signed evidence"):
        enginebundle.load(f"{target.root}/tiny")


def test_evidence_copied_from_another_version_counts_nothing(target: Target) -> None:
    second = publish(target.store, label="second")
    for data, signature in target.store.evidence(target.store.resolve("tiny@1")):
        target.store.put_evidence(second, CPU, data, signature)
    with pytest.raises(BundleError, match="pending: no key trusted here"):
        enginebundle.load(f"{target.root}/tiny@2")


def test_evidence_is_no_index_and_an_index_no_evidence(target: Target) -> None:
    version = target.store.resolve("tiny@1")
    ((evidence, signature),) = target.store.evidence(version)
    target.swap(index=evidence, signature=signature)
    with pytest.raises(FormatError, match=r"expected a document of format 'enginebundle\.index/1'"):
        target.load()


@pytest.mark.parametrize("key", ["index", "signature"])
@pytest.mark.parametrize(
    "value", ["../../../../etc/passwd", "sha256:../../x", "/etc/passwd", 7, None]
)
def test_a_record_that_names_a_path(target: Target, key: str, value: object) -> None:
    record = parse_json(target.record.read_bytes()) | {key: value}
    target.record.write_bytes(canonical_json(record))
    with pytest.raises(FormatError, match=f"expected a digest as {key}"):
        target.load()


@pytest.mark.parametrize(
    "reference", ["../tiny", "tiny@../1", "tiny:../prod", "tiny@sha256:../x", "tiny\0", ".", ".."]
)
def test_a_reference_that_leaves_the_store(target: Target, reference: str) -> None:
    with pytest.raises(FormatError, match="expected"):
        target.store.resolve(reference)


def test_an_alias_to_a_version_that_is_not_there(target: Target) -> None:
    move = target.root / "bundles/tiny/aliases/latest/2.json"
    move.write_bytes(canonical_json({"version": 9}))
    with pytest.raises(NotFoundError, match=r"no version 9 of 'tiny'; it has versions \[1\]"):
        target.load()
    for wrong in ('"../1"', "0", "true", "1.5"):
        move.write_text('{"version":' + wrong + "}")
        with pytest.raises(FormatError, match="expected a version number"):
            target.load()


def test_an_export_whose_marker_names_a_path(target: Target, tmp_path: Path) -> None:
    bundle = Bundle.open(target.store, target.store.resolve("tiny"))
    folder = export(bundle, tmp_path / "copy")
    marker = folder / "bundle.json"
    value = parse_json(marker.read_bytes())
    for change in ({"name": "../tiny"}, {"index": "../../x"}, {"index": digest_bytes(b"x")}):
        marker.write_bytes(canonical_json(value | change))
        with pytest.raises(BundleError):
            enginebundle.load(folder)
