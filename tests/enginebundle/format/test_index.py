"""The index as a document: one form is read, everything else is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginebundle.errors import FormatError
from enginebundle.format.digest import canonical_json, digest_bytes, parse_json
from enginebundle.format.index import Index
from enginebundle.format.spec import Profile, Range, Target, TensorSpec
from enginebundle.format.variant import Segment
from enginebundle.storage.store import Store
from tests.enginebundle.examples import index


def test_an_index_reads_back_as_itself(store: Store) -> None:
    original = index(store)
    assert Index.from_bytes(original.to_bytes()) == original
    assert original.digest == digest_bytes(original.to_bytes())


def test_what_an_older_index_does_not_say_is_left_out_of_a_newer_one(store: Store) -> None:
    original = index(store)
    engine = replace(original.variants[1], target=Target.parse("trt:sm_90"))
    without = replace(original, variants=(original.variants[0], engine))
    assert b"version_compatible" not in without.to_bytes()
    with_it = replace(
        original, variants=(original.variants[0], replace(engine, version_compatible=True))
    )
    assert Index.from_bytes(with_it.to_bytes()) == with_it
    said = with_it.to_bytes().replace(b'"version_compatible":true', b'"version_compatible":false')
    with pytest.raises(FormatError, match="expected canonical JSON"):
        Index.from_bytes(said)
    with pytest.raises(FormatError, match="only trt engines can be version-compatible"):
        replace(original.variants[1], version_compatible=True)


def test_order_of_blobs_labels_and_tolerances_does_not_matter(store: Store) -> None:
    original = index(store)
    variant = original.variants[0]
    shuffled = replace(
        original,
        blobs=original.blobs[::-1],
        variants=(replace(variant, tolerances=variant.tolerances[::-1]), original.variants[1]),
    )
    assert shuffled.to_bytes() == original.to_bytes()


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
        (lambda v: v | {"inputs": v["inputs"][::-1] * 2}, "inputs: 'mask' comes twice"),
        (
            lambda v: v | {"variants": v["variants"] * 2},
            "variants' targets: 'torch:cpu' comes twice",
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


def test_an_engine_s_weights_may_lie_apart(store: Store) -> None:
    """Their fields are new: an index without them keeps its bytes."""
    original = index(store)
    on_cpu, variant = original.variants
    ((engine,), graph) = variant.parts[0].segments, on_cpu.parts[0].segments[0]
    apart = replace(engine, weights=graph.weights)

    def changed(segment: Segment) -> Index:
        part = replace(variant.parts[0], segments=(segment,))
        return replace(original, variants=(on_cpu, replace(variant, parts=(part,))))

    assert b"constants" not in changed(apart).to_bytes()
    more = replace(apart, constants=graph.blob)
    assert more.blobs == (engine.blob, graph.weights, graph.blob)
    for made in (changed(apart), changed(more)):
        assert Index.from_bytes(made.to_bytes()) == made
    with pytest.raises(FormatError, match="missing from the list of blobs"):
        changed(replace(more, constants=digest_bytes(b"elsewhere")))
    for wrong in (engine, graph):
        with pytest.raises(FormatError, match="only an engine with weights apart has constants"):
            replace(wrong, constants=graph.blob)


def test_every_profile_bounds_every_input_symbol(store: Store) -> None:
    loose = Profile("short", (("c", Range(1, 1, 1)),))
    original = index(store)
    with pytest.raises(FormatError, match="profile 'short': expected a range for each of"):
        replace(original, profiles=(loose, original.profiles[1]))
