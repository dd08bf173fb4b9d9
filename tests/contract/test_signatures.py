"""Our TensorRT code against the signatures of TensorRT 10.6, 10.15 and 11.4, by name.

This proves names, arguments and types, and nothing else: TensorRT's libraries need a GPU machine, so
what its bindings offer is recorded (record.py). No layer is made and no engine is built. The same
code builds for real with TensorRT-RTX elsewhere; test_emission.py and test_runtime.py run it against
each version's signatures.
"""

from __future__ import annotations

import pytest

from tests.contract import bindings
from tests.contract.record import WHEELS, kept, recorded
from tests.contract.signatures import Signature, Signatures
from tests.contract.usage import ROOT, Usage, usage

NEWEST = list(WHEELS)[-1]

NEWER_ENUMS = {"AttentionNormalizationOp", "CausalMaskKind", "CumulativeOperation"}
"""Enums of layers that some version lacks; `Kind.needs` keeps such a layer out of its networks."""

RTX_ONLY = {
    "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeCache.serialize",  # not used: the method of ITimingCache has the same name
}
"""Used for `rtx` targets only: TensorRT builds for the GPU it runs on."""


@pytest.fixture(scope="session", params=list(WHEELS))
def every(request: pytest.FixtureRequest) -> Signatures:
    """Signatures of one supported version."""
    return recorded(request.param)


@pytest.fixture(scope="session")
def tensorrt() -> Signatures:
    """Signatures of the newest version, whose layers agree with TensorRT-RTX's."""
    return recorded(NEWEST)


@pytest.fixture(scope="session")
def rtx() -> Signatures:
    """Signatures of TensorRT-RTX, with which this code really builds."""
    pytest.importorskip("tensorrt_rtx")
    return kept(bindings.read("tensorrt_rtx", {}))


@pytest.fixture(scope="session")
def ours() -> Usage:
    """What the emitter, the kinds of layers, the backends and the loader's runtimes say to TensorRT."""
    runtimes = [ROOT / "enginebundle/runtimes/refit.py"]
    runtimes += (ROOT / "enginebundle/runtimes").glob("tensorrt*.py")
    backends = (ROOT / "compiler/build").glob("*.py")
    kinds = set((ROOT / "compiler/network/kinds").glob("*.py"))
    kinds.remove(ROOT / "compiler/network/kinds/plugin.py")  # TensorRT-RTX has no plugins
    paths = [ROOT / "compiler/network/emit.py", *kinds, *backends, *runtimes]
    return usage(paths, emitting=True)


@pytest.fixture(scope="session")
def words() -> set[str]:
    """Every word in converters and kinds: names of enum members reach the emitter from there."""
    rooms = (ROOT / "compiler" / room for room in ("convert", "network"))
    return usage(path for room in rooms for path in room.rglob("*.py")).words


def _named(found: Signatures, names: set[str]) -> dict[str, list[str]]:
    """`Class.member` -> signatures, for the members with such names; enums must be named as well."""
    return {
        f"{owner}.{member}": lines
        for owner, members in found.items()
        for member, lines in members.items()
        if member in names
        and not {owner, f"{owner}.{member}"} & RTX_ONLY
        and (not _is_enum(members) or owner.split(".")[0] in names)
    }


def _fits(used: str, offered: str) -> bool:
    """Whether every call and assignment that `used` allows, `offered` allows too."""
    if used.startswith("get "):
        # What a getter returns matters to type checkers only: 11.4 says `object` for some Dims.
        return offered.startswith("get ")
    if "(self" not in used or "(self" not in offered:
        return used == offered
    left, right = (line[: line.rindex(" -> ")].rstrip(")") for line in (used, offered))
    more = Signature.parse(offered)
    same = right == left or right.startswith(left) or left == right.replace(" = None", "")
    count = len(Signature.parse(used).names)
    return same and more.required <= count and more.result == Signature.parse(used).result


def test_it_is_tensorrt_and_not_tensorrt_rtx(tensorrt, rtx):
    assert "add_plugin_v3" in tensorrt["INetworkDefinition"]
    assert "add_plugin_v3" not in rtx["INetworkDefinition"]
    assert "ComputeCapability" not in tensorrt


def test_the_walk_finds_what_the_emitter_uses(ours, rtx):
    used = _named(rtx, ours.mentioned)
    layers = [name for name in used if name.startswith("INetworkDefinition.add_")]
    assert len(layers) >= 25
    for name in (
        "INetworkDefinition.add_convolution_nd",  # getattr, with a suffix
        "INetworkDefinition.add_unary",  # getattr
        "IShuffleLayer.reshape_dims",
        "IConvolutionLayer.stride_nd",
        "Builder.build_serialized_network",
        "INetworkDefinition.mark_weights_refittable",
        "Refitter.set_named_weights",
        "IBuilderConfig.add_optimization_profile",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    ):
        assert name in used


def _mismatches(tensorrt: Signatures, rtx: Signatures, ours: Usage) -> list[str]:
    wrong = []
    for name, lines in _named(rtx, ours.mentioned).items():
        owner, member = name.rsplit(".", 1)
        offered = tensorrt.get(owner, {}).get(member, [])
        wrong += [
            f"{name}: rtx {line}, tensorrt {offered or 'has none'}"
            for line in lines
            if not any(_fits(line, other) for other in offered)
        ]
    return wrong


def test_every_member_that_our_code_names_has_the_same_signature(tensorrt, rtx, ours):
    assert not _mismatches(tensorrt, rtx, ours)


@pytest.mark.parametrize(
    ("owner", "member", "instead"),
    [
        ("INetworkDefinition", "add_deconvolution_nd", []),
        ("INetworkDefinition", "add_topk", ["add_topk(self: INetworkDefinition) -> ITopKLayer"]),
        ("ISoftMaxLayer", "axes", ["get (arg0: ISoftMaxLayer) -> int"]),
        ("CausalMaskKind", "UPPER_LEFT", []),
    ],
)
def test_a_member_that_changed_would_be_noticed(tensorrt, rtx, ours, owner, member, instead):
    changed = tensorrt | {owner: tensorrt[owner] | {member: instead}}
    assert any(line.startswith(f"{owner}.{member}:") for line in _mismatches(changed, rtx, ours))


def test_every_enum_member_that_a_converter_names_exists(every, rtx, ours, words):
    enums = {owner: members for owner, members in rtx.items() if _is_enum(members)}
    named = {
        f"{owner}.{member}"
        for owner, members in enums.items()
        for member in members.keys() & words
        if owner in words | ours.names and owner not in RTX_ONLY
    }
    assert {"ElementWiseOperation.FLOOR_DIV", "UnaryOperation.ERF", "SampleMode.FILL"} <= named
    there = {f"{owner}.{member}" for owner, members in every.items() for member in members}
    assert {name.partition(".")[0] for name in named - there} <= NEWER_ENUMS - every.keys()


def test_every_call_binds(tensorrt, ours):
    methods: dict[str, list[Signature]] = {}
    for owner, members in tensorrt.items():
        for member, lines in members.items():
            name = owner.rsplit(".", 1)[-1] if member == "__init__" else member
            parsed = [Signature.parse(line) for line in lines if f"{member}(" in line]
            methods.setdefault(name, []).extend(parsed)
    checked = set()
    wrong = []
    for call in ours.calls:
        if methods.get(call.method) and call.positional is not None:
            checked.add(call.method)
            count, keywords = call.positional, call.keywords
            if not any(s.accepts(count, keywords) for s in methods[call.method]):
                wrong.append(f"{call.where}: {call.method}: {methods[call.method]}")
    assert not wrong, "\n".join(wrong)
    assert {"Builder", "Weights", "create_network", "add_input", "add_topk"} <= checked


def test_every_assigned_attribute_can_be_set(tensorrt, rtx, ours):
    known = {member for members in rtx.values() for member in members}
    settable = {
        member
        for members in tensorrt.values()
        for member, lines in members.items()
        if any(line.startswith("set ") for line in lines)
    }
    used = {
        name: where
        for name, where in ours.assigned.items()
        if name in known and not any(only.endswith(f".{name}") for only in RTX_ONLY)
    }
    assert {"stride_nd", "reshape_dims", "epsilon", "decomposable"} <= used.keys()
    assert not {where for name, where in used.items() if name not in settable}


def _is_enum(members: dict[str, list[str]]) -> bool:
    return bool(members) and all(len(v) == 1 and v[0].isdigit() for v in members.values())


@pytest.mark.parametrize(
    ("positional", "keywords", "binds"),
    [(2, (), True), (3, (), True), (1, ("b",), True), (1, (), False), (4, (), False),
     (2, ("b",), False), (2, ("d",), False), (2, ("c",), True)],
)  # fmt: skip
def test_how_calls_bind(positional, keywords, binds):
    parsed = Signature.parse("f(self: A, a: B, b: Tuple[int, int], c: C = <C.X: 0>) -> D")
    assert (parsed.names, parsed.required, parsed.result) == (("a", "b", "c"), 2, "D")
    assert parsed.accepts(positional, keywords) == binds


@pytest.mark.parametrize(
    ("used", "offered", "fits"),
    [
        ("f(self: A, a: B) -> C", "f(self: A, a: B) -> C", True),
        ("f(self: A, a: B) -> C", "f(self: A, a: B, b: D = None) -> C", True),
        ("f(self: A, a: B) -> C", "f(self: A, a: B = None) -> C", True),
        ("f(self: A, a: B) -> C", "f(self: A, a: B, b: D) -> C", False),
        ("f(self: A, a: B) -> C", "f(self: A, a: E) -> C", False),
        ("f(self: A, a: B) -> C", "f(self: A, z: B) -> C", False),
        ("f(self: A, a: B) -> C", "f(self: A, a: B) -> E", False),
        ("get (arg0: A) -> Dims", "get (arg0: A) -> object", True),
        ("set (arg0: A, arg1: B) -> None", "get (arg0: A) -> B", False),
        ("set (arg0: A, arg1: B) -> None", "set (arg0: A, arg1: E) -> None", False),
    ],
)
def test_what_fits(used, offered, fits):
    assert _fits(used, offered) == fits
