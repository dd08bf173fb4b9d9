"""Our TensorRT code against the signatures of TensorRT 11.4, which can't be installed here.

This proves names, arguments and types, and nothing else: TensorRT's libraries need a GPU machine,
so its Python bindings are imported beside stub libraries that only export the symbols they link.
No layer is made and no engine is built. The same code builds for real with TensorRT-RTX elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.signatures import Signature, Signatures
from tests.contract.usage import ROOT, Usage, usage

LINKED = {
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
    "libnvonnxparser.so.11": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
"""Libraries that the bindings link, and the symbols they want from them."""

RTX_ONLY = {
    "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeCache.serialize",  # not used: the method of ITimingCache has the same name
}
"""Used for `rtx` targets only: TensorRT builds for the GPU it runs on."""


@pytest.fixture(scope="session")
def tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Signatures:
    """Signatures of TensorRT's bindings, read in a process of their own."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("gcc is not installed: stub libraries can't be compiled")
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("not installed: pip install --no-deps tensorrt-cu13-bindings==11.4.0.106")
    folder = tmp_path_factory.mktemp("stubs")
    for library, symbols in LINKED.items():
        source = folder / f"{library}.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in symbols))
        command = [
            gcc,
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{library}",
            "-o",
            folder / library,
            source,
        ]
        subprocess.run(command, check=True)
    return _read("tensorrt_bindings", {"LD_LIBRARY_PATH": str(folder), "LD_BIND_NOW": "1"})


@pytest.fixture(scope="session")
def rtx() -> Signatures:
    """Signatures of TensorRT-RTX, with which this code really builds."""
    pytest.importorskip("tensorrt_rtx")
    return _read("tensorrt_rtx", {})


@pytest.fixture(scope="session")
def ours() -> Usage:
    """What the emitter, the kinds of layers, the backends and the loader's runtimes say to TensorRT."""
    runtimes = (ROOT / "enginebundle/runtimes").glob("tensorrt*.py")
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


def _read(module: str, environment: dict[str, str]) -> Signatures:
    program = Path(__file__).with_name("signatures.py")
    result = subprocess.run(
        [sys.executable, program, module],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found: Signatures = json.loads(result.stdout)
    return found


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


def test_every_enum_member_that_a_converter_names_exists(tensorrt, rtx, ours, words):
    enums = {owner: members for owner, members in rtx.items() if _is_enum(members)}
    named = {
        f"{owner}.{member}"
        for owner, members in enums.items()
        for member in members.keys() & words
        if owner in words | ours.names and owner not in RTX_ONLY
    }
    assert {"ElementWiseOperation.FLOOR_DIV", "UnaryOperation.ERF", "SampleMode.FILL"} <= named
    there = {f"{owner}.{member}" for owner, members in tensorrt.items() for member in members}
    assert not named - there


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
