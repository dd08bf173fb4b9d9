"""An engine's key: everything that can change its bytes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from compiler.build import engine_cache
from compiler.build.builder import EngineOptions
from compiler.build.engine_cache import EngineCache, identity
from compiler.convert.net import Net
from compiler.network.network import Network
from compiler.program import weight_of
from enginebundle.format.digest import digest_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.storage.store import Store

TRT = SimpleNamespace(__name__="tensorrt_rtx", __version__="1.5.0")
WEIGHT = torch.arange(3.0)


def network(
    name: str = "x", weight: torch.Tensor = WEIGHT, alpha: float = 1.0, node: str = "add",
    op: str = "SUM", output: str = "y", dtype: torch.dtype = torch.float32,
) -> Network:  # fmt: skip
    net = Net()
    net.node = node
    x = net.input(name, dtype, (None, 3))
    made = net.elementwise(x, net.cast(net.constant(weight), dtype), op)
    return net.finish({output: net.activation(made, "ELU", alpha)}, {})


def graph(symbol: str = "b") -> Graph:
    return Graph((TensorSpec("x", "float32", (symbol, 3)),), (), (), (), ())


def key(
    made: Network | None = None, symbol: str = "b", name: str = "p", top: int = 8,
    archs: tuple[str, ...] = ("sm_89",), tf32: bool = False, trt: Any = TRT,
    digests: dict[int, str] | None = None, **more: Any,
) -> str:  # fmt: skip
    options = EngineOptions((Profile(name, ((symbol, Range(1, 4, top)),)),), tf32, archs, **more)
    return digest_json(
        identity(trt, made or network(), graph(symbol), options, archs, digests or {})
    )


def test_equal_networks_have_one_key() -> None:
    assert key() == key()
    assert key(network(weight=WEIGHT.clone())) == key()


def test_names_of_symbols_and_profiles_are_out() -> None:
    assert key(symbol="rows", name="default") == key()


def test_a_known_digest_stands_for_hashing() -> None:
    assert key(digests={id(WEIGHT): weight_of("w", WEIGHT).digest}) == key()


@pytest.mark.parametrize(
    "change",
    [
        {"made": network(weight=WEIGHT + 1)},
        {"made": network(weight=WEIGHT.reshape(1, 3))},
        {"made": network(alpha=1.5)},
        {"made": network(node="other")},
        {"made": network(op="PROD")},
        {"made": network(output="z")},
        {"made": network(dtype=torch.float16)},
        {"top": 9},
        {"archs": ("sm_86",)},
        {"archs": ("sm_86", "sm_89")},
        {"tf32": True},
        {"effort": "max"},
        {"hardware": "ampere_plus"},
        {"version_compatible": True},
        {"trt": SimpleNamespace(__name__="tensorrt_rtx", __version__="1.5.1")},
        {"trt": SimpleNamespace(__name__="tensorrt", __version__="1.5.0")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_everything_else_is_in(change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_a_build_for_another_cuda_is_another_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for name in ("tensorrt_rtx_cu12", "tensorrt_rtx_cu13"):
        monkeypatch.setattr(engine_cache, "distributions_of", lambda _, name=name: {name: "1.5.0"})
        keys.add(key())
    assert len(keys) == 2


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), (0.0, -0.0), ((1,), 1), ("1", 1)])
def test_attributes_keep_their_types(a: Any, b: Any) -> None:
    def made(value: Any) -> Network:
        base = network()
        last = replace(base.layers[-1], attributes={"value": value})
        return replace(base, layers=(*base.layers[:-1], last))

    assert key(made(a)) != key(made(b))
    with pytest.raises(TypeError, match="can't be part of an engine's key"):
        key(made({1, 2}))


def test_a_loop_s_body_and_count_are_in() -> None:
    def made(count: int, factor: float) -> Network:
        net = Net()
        x = net.input("x", torch.float32, (None, 3))
        return net.finish({"y": net.loop(count, [x], lambda n, s: [n.mul(s[0], factor)])[0]}, {})

    keys = {key(made(*args)) for args in ((2, 0.5), (3, 0.5), (2, 0.25))}
    assert len(keys) == 3
    assert key(made(2, 0.5)) in keys


def test_a_bound_constant_counts_by_name_and_shape() -> None:
    def made(weight: torch.Tensor = WEIGHT, name: str = "w", refit: bool = True) -> str:
        options, base = EngineOptions((), refit=refit), network(weight=weight)
        constants = [
            t for layer in base.layers for t in layer.inputs if t and t.constant is not None
        ]
        bound = {t.name: name for t in constants} if name else {}
        return digest_json(identity(TRT, base, graph(), options, (), {}, bound))

    assert made(WEIGHT + 1) == made()
    wide = torch.ones(2, 3)
    assert made() not in (made(wide), made(WEIGHT.half()), made(refit=False), made(name="v"))
    assert made(WEIGHT + 1, name="") != made(name=""), "a constant that stays in counts by content"


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(Store.open(tmp_path, create=True))


def counting(*contents: bytes) -> tuple[Callable[[], bytes], list[bytes]]:
    left = list(contents)
    return (lambda: left.pop(0)), left


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    build, left = counting(b"engine", b"another")
    assert [cache.engine({"a": 1}, build) for _ in range(3)] == [b"engine"] * 3
    assert cache.engine({"a": 2}, build) == b"another"
    assert left == []


def test_the_first_writer_s_engine_stays(cache: EngineCache) -> None:
    def slow() -> bytes:
        cache.engine({"a": 1}, lambda: b"fast")
        return b"slow"

    assert cache.engine({"a": 1}, slow) == b"fast"
    assert cache.engine({"a": 1}, slow) == b"fast"


def test_a_damaged_engine_is_built_again(cache: EngineCache, tmp_path: Path) -> None:
    cache.engine({"a": 1}, lambda: b"engine")
    (blob,) = (tmp_path / "blobs").rglob("*/*/*")
    for damage in (lambda: blob.write_bytes(b"enginE"), blob.unlink):
        damage()
        assert cache.engine({"a": 1}, lambda: b"engine") == b"engine"


def test_what_a_build_depended_on_is_kept_beside_the_result(cache: EngineCache) -> None:
    noted: dict[str, Any] = {}

    def build() -> bytes:
        noted["workspace"] = 1 << 30
        return b"engine"

    cache.engine({"a": 1}, build, noted)
    record = cache.store.result(digest_json({"a": 1}))
    assert record is not None
    assert record["provenance"]["build"] == {"workspace": 1 << 30}
    assert "workspace" not in record["output"] | record["identity"]


def test_a_lost_engine_is_built_again_from_what_its_build_left(
    cache: EngineCache, tmp_path: Path
) -> None:
    left: list[Mapping[str, Any]] = []

    def again(notes: Mapping[str, Any]) -> bytes:
        left.append(notes)
        return b"the same"

    for number, notes in enumerate(({"workspace": 1}, {})):
        cache.engine({"a": number}, lambda: b"engine", notes, again)
    assert left == [], "nothing was lost"
    for blob in (tmp_path / "blobs").rglob("*/*/*"):
        blob.unlink()
    assert cache.engine({"a": 0}, lambda: b"anew", {}, again) == b"the same"
    assert cache.engine({"a": 1}, lambda: b"anew", {}, again) == b"anew", "nothing is known of it"
    assert left == [{"workspace": 1}]


def test_a_record_explains_itself(cache: EngineCache) -> None:
    cache.engine({"step": "engine", "a": 1}, lambda: b"engine")
    record = cache.store.result(digest_json({"step": "engine", "a": 1}))
    assert record is not None
    assert record.keys() == {"key", "identity", "output", "provenance"}
    assert (record["identity"]["a"], record["output"]["bytes"]) == (1, 6)
