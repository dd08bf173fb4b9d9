"""Malformed documents with a trusted signature, as a careless or tricked publisher could sign them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from enginebundle.errors import FormatError, IntegrityError
from enginebundle.storage.trust import default_signer
from tests.attacks.victim import Victim

DEEP = "(" * 400 + "b" + ")" * 400
SIGNED = {
    "a huge dimension": (lambda v: _dim(v, "b" + "*9" * 600), "at most 1000 allowed"),
    "a deep dimension": (lambda v: _dim(v, DEEP), "is not an expression|only integers"),
    "a deeply negated dimension": (lambda v: _dim(v, "-" * 990 + "b"), "nested deeper than 100"),
    "a power": (lambda v: _dim(v, "9**9**9"), "only integers, symbols"),
    "a call": (lambda v: _dim(v, "__import__('os').system('id')"), "only integers, symbols"),
    "an attribute": (lambda v: _dim(v, "b.__class__"), "only integers, symbols"),
    "NaN in a tolerance": (lambda v: _tolerance(v, float("nan")), "NaN is not a JSON number"),
    "infinity in a tolerance": (lambda v: _tolerance(v, float("inf")), "Infinity is not a JSON"),
    "a negative tolerance": (
        lambda v: _tolerance(v, -1.0),
        "expected finite numbers of at least 0",
    ),
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


@pytest.mark.parametrize("attack", SIGNED)
def test_a_malformed_index_under_a_trusted_signature(victim: Victim, attack: str) -> None:
    change, message = SIGNED[attack]
    victim.resign(change)
    with pytest.raises(FormatError, match=message):
        victim.load()


def test_duplicate_keys(victim: Victim) -> None:
    raw = victim.index.to_bytes().replace(b'"name":"tiny"', b'"name":"tiny","name":"tiny"', 1)
    victim.swap(index=raw, signature=default_signer().sign(raw))
    with pytest.raises(FormatError, match="duplicate key in a JSON object"):
        victim.load()


def test_json_nested_beyond_reason(victim: Victim) -> None:
    raw = b'{"format":' + b"[" * 200_000
    victim.swap(index=raw, signature=default_signer().sign(raw))
    with pytest.raises(FormatError, match="not JSON"):
        victim.load()


@pytest.mark.parametrize(
    ("op", "message"),
    [
        ("aten.from_file.default", "'aten.from_file.default' is not one that a bundle may call"),
        ("aten.relu_.default", "is not one that a bundle may call"),
        ("os.system", "is not one that a bundle may call"),
        ("sym.__import__", "is not one that a bundle may call"),
    ],
)
def test_a_graph_that_calls_what_is_not_allowed(victim: Victim, op: str, message: str) -> None:
    blob = victim.index.variants[0].parts[0].segments[0].blob
    data = victim.store.read_blob(blob).replace(b"aten.relu.default", op.encode())
    victim.replace_blob(blob, data)
    with pytest.raises(FormatError, match=message):
        victim.load()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"ref":"act"', b'"exec":"act"', "unknown tag 'exec'"),
        (b'"ref":"act"', b'"ref":"later"', "reads 'later' before it exists"),
        (b'{"dtype":"int64"}', b'{"dtype":"load"}', "dtype 'load': torch .* has none"),
        (b'{"dtype":"int64"}', b"[" * 600 + b"]" * 600, "nested too deep"),
        (b'{"dtype":"int64"}', b"[" * 99_999 + b"]" * 99_999, "nested too deep"),
        (b'"nodes":[', b'"hook":1,"nodes":[', r"unknown keys \['hook'\]"),
        (b'"name":"lin"', b'"name":["lin"]', "value name: expected text"),
        (b'"name":"act"', b'"name":"lin"', "two values are named 'lin'"),
    ],
)
def test_a_malformed_graph(victim: Victim, old: bytes, new: bytes, message: str) -> None:
    blob = victim.index.variants[0].parts[0].segments[0].blob
    data = victim.store.read_blob(blob)
    changed = data.replace(old, new)
    if changed == data:
        pytest.fail(f"{old!r} is not in the graph")
    victim.replace_blob(blob, changed)
    with pytest.raises(FormatError, match=message):
        victim.load()


def test_weights_that_are_a_pickle(victim: Victim, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "boom",)

    torch.save({"w": Bomb()}, tmp_path / "w.pt")
    weights = str(victim.index.variants[0].parts[0].segments[0].weights)
    victim.replace_blob(weights, (tmp_path / "w.pt").read_bytes())
    with pytest.raises(FormatError, match="is not safetensors"):
        victim.load()
    assert not (tmp_path / "boom").exists()


def test_weights_of_another_shape(victim: Victim) -> None:
    weights = str(victim.index.variants[0].parts[0].segments[0].weights)
    victim.replace_blob(weights, save({"w": torch.ones(3, 5), "bias": torch.ones(2)}))
    with pytest.raises(FormatError, match=r"weight 'w': expected float32\[3, 2\]"):
        victim.load()


def test_a_size_that_lies(victim: Victim) -> None:
    blob = victim.index.variants[0].parts[0].segments[0].blob
    lied = tuple((d, size + (d == blob)) for d, size in victim.index.blobs)
    raw = replace(victim.index, blobs=lied).to_bytes()
    victim.swap(index=raw, signature=default_signer().sign(raw))
    with pytest.raises(IntegrityError, match="the index says"):
        victim.load()
