"""The index and evidence as documents: one spelling, everything else refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.evidence import CaseResult, Evidence, state
from enginebundle.format.index import Index
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.variant import Segment
from enginebundle.storage.store import Store
from tests.enginebundle.examples import CPU, PROGRAM, index

EVIDENCE = Evidence(
    PROGRAM,
    CPU,
    True,
    {"arch": None, "cpu": "x"},
    Toolchain((("torch", "2.13.0"),)),
    (CaseResult("rows1", "y", 1e-7, 0.25, True), CaseResult("rows3", "y", 0.0, 0.0, True)),
    "2026-01-01T00:00:00+00:00",
)


def test_an_index_reads_back_as_itself(store: Store) -> None:
    original = index(store)
    assert Index.from_bytes(original.to_bytes()) == original
    assert original.digest == digest_bytes(original.to_bytes())


def test_order_of_blobs_labels_and_tolerances_does_not_matter(store: Store) -> None:
    original = index(store)
    variant = original.variants[0]
    shuffled = replace(
        original,
        blobs=original.blobs[::-1],
        variants=(replace(variant, tolerances=variant.tolerances[::-1]), original.variants[1]),
    )
    assert shuffled.to_bytes() == original.to_bytes()


def test_evidence_reads_back_as_itself() -> None:
    assert Evidence.from_bytes(EVIDENCE.to_bytes()) == EVIDENCE
    assert EVIDENCE.worst == 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v | {"extra": 1}, r"unknown keys \['extra'\]"),
        (lambda v: {k: x for k, x in v.items() if k != "goldens"}, r"missing keys \['goldens'\]"),
        (lambda v: v | {"format": "enginebundle.index/2"}, "expected a document of format"),
        (lambda v: v | {"name": "../evil"}, "bundle name '../evil': expected letters"),
        (lambda v: v | {"program": "sha256:12"}, "program: expected sha256:"),
        (lambda v: v | {"inputs": {}}, "inputs: expected a list, got dict"),
        (lambda v: v | {"profiles": v["profiles"][:1]}, "serves .* but the bundle has"),
        (lambda v: v | {"blobs": {}}, "is missing from the list of blobs"),
        (lambda v: v | {"inputs": v["inputs"][::-1] * 2}, "inputs: 'mask' appears twice"),
        (
            lambda v: v | {"variants": v["variants"] * 2},
            "variants' targets: 'torch:cpu' appears twice",
        ),
    ],
)
def test_an_unexpected_index_is_refused(store: Store, change: object, message: str) -> None:
    value = parse_json(index(store).to_bytes())
    with pytest.raises(FormatError, match=message):
        Index.from_bytes(canonical_json(change(value)))  # type: ignore[operator]


def test_only_canonical_json_is_accepted(store: Store) -> None:
    raw = index(store).to_bytes()
    with pytest.raises(FormatError, match="expected canonical JSON"):
        Index.from_bytes(raw.replace(b":", b": ", 1))


def test_parts_must_hang_together(store: Store) -> None:
    original = index(store)
    variant = original.variants[0]
    (part,) = variant.parts
    (segment,) = part.segments

    def changed(**fields: object) -> Index:
        new = replace(variant, parts=(replace(part, **fields),))  # type: ignore[arg-type]
        return replace(original, variants=(new,))

    stray = (TensorSpec("nowhere", "float32", (1,)),)
    with pytest.raises(FormatError, match="a segment reads 'nowhere' before it exists"):
        changed(segments=(replace(segment, inputs=stray),))
    with pytest.raises(FormatError, match="two values are named 'y0'"):
        changed(segments=(segment, segment))
    with pytest.raises(FormatError, match="expected a value for each of 2 outputs"):
        changed(returns=("y0",))
    with pytest.raises(FormatError, match="serves no profile"):
        changed(profiles=())
    engine = Segment("engine", segment.blob, None, segment.inputs, segment.outputs, ("short",))
    with pytest.raises(FormatError, match=r"optimization profiles \['short'\]"):
        changed(segments=(engine,))


def test_every_profile_bounds_every_input_symbol(store: Store) -> None:
    loose = Profile("short", (("c", Range(1, 1, 1)),))
    original = index(store)
    with pytest.raises(FormatError, match="profile 'short': expected a range for each of"):
        replace(original, profiles=(loose, original.profiles[1]))


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_is_a_finite_number_from_zero(bound: float) -> None:
    with pytest.raises(FormatError, match="expected finite numbers from 0"):
        Tolerance(bound, 0.0)


def test_state_comes_from_evidence_for_exactly_this_index_and_target() -> None:
    older = replace(EVIDENCE, passed=False, date="2000-01-01T00:00:00+00:00")
    newer = replace(EVIDENCE, passed=False, date="2999-01-01T00:00:00+00:00")
    other = digest_bytes(b"other")
    assert state(PROGRAM, CPU, []) == "pending"
    assert state(PROGRAM, CPU, [older]) == "failed"
    assert state(PROGRAM, CPU, [older, EVIDENCE]) == "validated"
    assert state(PROGRAM, CPU, [EVIDENCE, newer]) == "failed"
    assert state(other, CPU, [EVIDENCE]) == "pending"
    assert state(PROGRAM, Target.parse("rtx:sm_89"), [EVIDENCE]) == "pending"


def test_evidence_counts_on_the_architectures_it_was_taken_on() -> None:
    group = Target.parse("rtx:sm_80+sm_86")
    unlisted = replace(EVIDENCE, target=group, machine={"arch": "sm_90"})
    assert state(PROGRAM, group, [unlisted], "sm_80") == "pending"
    assert state(PROGRAM, group, [unlisted], "sm_90") == "validated"
    assert state(PROGRAM, group, [replace(unlisted, machine={"arch": "sm_86"})]) == "validated"
    assert state(PROGRAM, group, [replace(unlisted, machine={})], None) == "pending"
