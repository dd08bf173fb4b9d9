"""Hostile stores: whoever writes into one can make a load fail, never make it run something else.

Each attack starts from a bundle that loads, changes what an attacker could change, and names the
error that has to come, with its text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

import enginebundle
from enginebundle.archive import export
from enginebundle.bundle import Bundle
from enginebundle.digest import canonical_json, digest_bytes, parse_json
from enginebundle.errors import (
    BundleError,
    FormatError,
    IntegrityError,
    NotFoundError,
    UntrustedError,
)
from enginebundle.index import Index
from enginebundle.signing import Signer
from enginebundle.store import Store
from enginebundle.validate import prove
from tests.enginebundle.examples import CPU, index, publish


@dataclass
class Target:
    """A store that holds tiny@1, validated, and the files an attacker reaches."""

    store: Store
    index: Index

    @property
    def root(self) -> Path:
        return Path(self.store.uri)

    @property
    def record(self) -> Path:
        return self.root / "bundles/tiny/versions/1.json"

    def blob(self, digest: str) -> Path:
        return self.root / "blobs/sha256" / digest[7:9] / digest[7:]

    @property
    def signature(self) -> Path:
        return self.blob(parse_json(self.record.read_bytes())["signature"])

    def swap(self, **blobs: bytes) -> None:
        """Point the version's record at other blobs, put there properly."""
        record = parse_json(self.record.read_bytes())
        record |= {key: self.store.put_blob(data) for key, data in blobs.items()}
        self.record.write_bytes(canonical_json(record))

    def resign(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Publish a changed index under the trusted key: what a careless publisher could sign."""
        value = parse_json(self.index.to_bytes())
        raw = json.dumps(change(value), separators=(",", ":"), sort_keys=True).encode()
        self.swap(index=raw, signature=Signer.default().sign(raw))

    def replace_blob(self, old: str, data: bytes) -> None:
        """Sign an index in which one blob stands for another."""
        digest = self.store.put_blob(data)

        def change(value: dict[str, Any]) -> Any:
            text = json.dumps(value).replace(old, digest)
            changed = json.loads(text)
            changed["blobs"][digest] = len(data)
            return changed

        self.resign(change)

    def load(self) -> Any:
        session = enginebundle.load(f"{self.root}/tiny", allow_pending=True)
        return session(x=torch.ones(1, 3), mask=torch.ones(1, dtype=torch.bool))


@pytest.fixture
def target(store: Store) -> Target:
    version = publish(store)
    prove(store, version, CPU)
    target = Target(store, index(store))
    target.load()
    return target


def flip(path: Path, position: int = -10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


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
    document = parse_json(Signer.default().sign(target.index.to_bytes()))
    first = "B" if document["signature"][0] != "B" else "C"
    document["signature"] = first + document["signature"][1:]
    target.swap(signature=canonical_json(document))
    with pytest.raises(IntegrityError, match="does not match"):
        target.load()


def test_a_signature_over_something_else(target: Target) -> None:
    target.swap(signature=Signer.default().sign(b"something else"))
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


DEEP = "(" * 400 + "b" + ")" * 400
SIGNED = {
    "duplicate keys": None,
    "a huge dimension": (lambda v: _dim(v, "b" + "*9" * 600), "at most 1000 allowed"),
    "a deep dimension": (lambda v: _dim(v, DEEP), "is not an expression|only integers"),
    "a deeply negated dimension": (lambda v: _dim(v, "-" * 990 + "b"), "nested deeper than 100"),
    "a power": (lambda v: _dim(v, "9**9**9"), "only integers, symbols"),
    "a call": (lambda v: _dim(v, "__import__('os').system('id')"), "only integers, symbols"),
    "an attribute": (lambda v: _dim(v, "b.__class__"), "only integers, symbols"),
    "NaN in a tolerance": (lambda v: _tolerance(v, float("nan")), "NaN is not a JSON number"),
    "infinity in a tolerance": (lambda v: _tolerance(v, float("inf")), "Infinity is not a JSON"),
    "a negative tolerance": (lambda v: _tolerance(v, -1.0), "expected finite numbers from 0"),
    "text for a tolerance": (lambda v: _tolerance(v, "1"), "atol: expected a number"),
    "a traversal as a name": (lambda v: v | {"name": "../tiny"}, "bundle name '../tiny'"),
    "a traversal as a golden": (lambda v: _golden(v, "../../x"), r"golden '\.\./\.\./x'"),
    "a path for a blob": (lambda v: _blob(v, "/etc/passwd"), "segment blob: expected sha256"),
    "an unlisted blob": (lambda v: v | {"blobs": {}}, "missing from the list of blobs"),
    "a pickle segment": (lambda v: _kind(v, "pickle"), "expected one of engine, torch_graph"),
    "an unknown key": (lambda v: v | {"hook": "os.system"}, r"unknown keys \['hook'\]"),
}


def _segment(value: dict[str, Any]) -> dict[str, Any]:
    segment: dict[str, Any] = value["variants"][0]["parts"][0]["segments"][0]
    return segment


def _dim(value: dict[str, Any], dim: str) -> dict[str, Any]:
    value["outputs"][0]["shape"] = [dim, 2]
    return value


def _tolerance(value: dict[str, Any], bound: object) -> dict[str, Any]:
    value["variants"][0]["tolerances"]["y"]["atol"] = bound
    return value


def _golden(value: dict[str, Any], name: str) -> dict[str, Any]:
    value["goldens"][0]["name"] = name
    return value


def _blob(value: dict[str, Any], name: str) -> dict[str, Any]:
    _segment(value)["blob"] = name
    return value


def _kind(value: dict[str, Any], kind: str) -> dict[str, Any]:
    _segment(value)["kind"] = kind
    return value


@pytest.mark.parametrize("attack", [name for name in SIGNED if SIGNED[name]])
def test_a_malformed_index_under_a_trusted_signature(target: Target, attack: str) -> None:
    change, message = SIGNED[attack]  # type: ignore[misc]
    target.resign(change)
    with pytest.raises(FormatError, match=message):
        target.load()


def test_duplicate_keys(target: Target) -> None:
    raw = target.index.to_bytes().replace(b'"name":"tiny"', b'"name":"tiny","name":"tiny"', 1)
    target.swap(index=raw, signature=Signer.default().sign(raw))
    with pytest.raises(FormatError, match="duplicate key in a JSON object"):
        target.load()


def test_json_nested_beyond_reason(target: Target) -> None:
    raw = b'{"format":' + b"[" * 200_000
    target.swap(index=raw, signature=Signer.default().sign(raw))
    with pytest.raises(FormatError, match="not JSON"):
        target.load()


@pytest.mark.parametrize(
    ("op", "message"),
    [
        ("aten.from_file.default", "'aten.from_file.default' is not one that a bundle may call"),
        ("aten.relu_.default", "is not one that a bundle may call"),
        ("os.system", "is not one that a bundle may call"),
        ("sym.__import__", "is not one that a bundle may call"),
    ],
)
def test_a_graph_that_calls_what_is_not_allowed(target: Target, op: str, message: str) -> None:
    blob = target.index.variants[0].parts[0].segments[0].blob
    data = target.store.read_blob(blob).replace(b"aten.relu.default", op.encode())
    target.replace_blob(blob, data)
    with pytest.raises(FormatError, match=message):
        target.load()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"ref":"act"', b'"exec":"act"', "unknown tag 'exec'"),
        (b'"ref":"act"', b'"ref":"later"', "reads 'later' before it exists"),
        (b'{"dtype":"int64"}', b'{"dtype":"load"}', "dtype 'load': torch .* has none"),
        (b'{"dtype":"int64"}', b"[" * 600 + b"]" * 600, "nested too deep"),
        (b'{"dtype":"int64"}', b"[" * 99_999 + b"]" * 99_999, "nested too deep"),
        (b'"nodes":[', b'"hook":1,"nodes":[', r"unknown keys \['hook'\]"),
        (b'"name":"lin"', b'"name":["lin"]', "graph: TypeError"),
        (b'"name":"act"', b'"name":"lin"', "two values are named 'lin'"),
    ],
)
def test_a_malformed_graph(target: Target, old: bytes, new: bytes, message: str) -> None:
    blob = target.index.variants[0].parts[0].segments[0].blob
    data = target.store.read_blob(blob)
    changed = data.replace(old, new)
    if changed == data:
        pytest.fail(f"{old!r} is not in the graph")
    target.replace_blob(blob, changed)
    with pytest.raises(FormatError, match=message):
        target.load()


def test_weights_that_are_a_pickle(target: Target, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "boom",)

    torch.save({"w": Bomb()}, tmp_path / "w.pt")
    weights = str(target.index.variants[0].parts[0].segments[0].weights)
    target.replace_blob(weights, (tmp_path / "w.pt").read_bytes())
    with pytest.raises(FormatError, match="is not safetensors"):
        target.load()
    assert not (tmp_path / "boom").exists()


def test_weights_of_another_shape(target: Target) -> None:
    weights = str(target.index.variants[0].parts[0].segments[0].weights)
    target.replace_blob(weights, save({"w": torch.ones(3, 5), "bias": torch.ones(2)}))
    with pytest.raises(FormatError, match=r"weight 'w': expected float32\[3, 2\]"):
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


def test_a_size_that_lies(target: Target) -> None:
    blob = target.index.variants[0].parts[0].segments[0].blob
    lied = tuple((d, size + (d == blob)) for d, size in target.index.blobs)
    raw = replace(target.index, blobs=lied).to_bytes()
    target.swap(index=raw, signature=Signer.default().sign(raw))
    with pytest.raises(IntegrityError, match="the index says"):
        target.load()
