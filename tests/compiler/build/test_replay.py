"""A build that is held to proved tactics, by the documented behaviour of editable timing caches.

TensorRT 10.6 has none, and TensorRT-RTX's hold nothing, so a stand-in holds the entries; the names and
signatures are checked against TensorRT-RTX's real classes at the end and in tests/contract.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.build.aids import Aids
from compiler.build.replay import Proved, Replay, ReplayRefused, editable, entries
from enginebundle.format.digest import canonical_json, digest_bytes
from enginebundle.storage.store import Store

FLAGS = {"EDITABLE_TIMING_CACHE": 1, "ERROR_ON_TIMING_CACHE_MISS": 2}
OLD = SimpleNamespace(
    __name__="tensorrt", __version__="10.6.0",
    BuilderFlag=SimpleNamespace(__members__={"ERROR_ON_TIMING_CACHE_MISS": 2}),
)  # fmt: skip
NEW = SimpleNamespace(
    __name__="tensorrt", __version__="10.15.1",
    BuilderFlag=SimpleNamespace(__members__=FLAGS, **FLAGS),
)  # fmt: skip
ENTRIES = {"0xa": 1, "0xb": 2}
TACTICS = {"conv_myl0_0": "gemm sm90_a", "softmax_myl0_1": "reduce sm90_b"}


class Cache:
    def __init__(self, held: dict[str, int]) -> None:
        self.held = held

    def queryKeys(self) -> list[str]:  # noqa: N802 - TensorRT's spelling
        return list(self.held)

    def query(self, key: str) -> Any:
        return SimpleNamespace(tacticHash=self.held[key])


class Config:
    def __init__(self, fits: bool = True) -> None:
        self.fits, self.flags = fits, set[int]()
        self.cache: Cache | None = None

    def create_timing_cache(self, data: bytes) -> Cache:
        return Cache(json.loads(data))

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return self.fits

    def get_timing_cache(self) -> Cache | None:
        return self.cache

    def set_flag(self, flag: int) -> None:
        self.flags.add(flag)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


@pytest.fixture
def proved(store: Store) -> Proved:
    cache = store.put_blob(json.dumps(ENTRIES).encode())
    return Proved(cache, store.put_blob(canonical_json(TACTICS)), 5 << 30)


def test_the_same_tactics_pass(store: Store, proved: Proved) -> None:
    config = Config()
    replay = Replay(NEW, config, store, proved)
    assert config.flags == set(FLAGS.values()), "TensorRT itself refuses to time anything"
    replay.check(config, TACTICS)


@pytest.mark.parametrize(
    ("held", "tactics", "message"),
    [
        ({"0xb": 9}, {}, "1 tactics changed: 0xb: 0x2 -> 0x9"),
        ({"0xc": 3}, {}, "1 tactics changed: 0xc: absent -> 0x3"),
        ({}, {"conv_myl0_0": "gemm other"}, "conv_myl0_0: gemm sm90_a -> gemm other"),
        ({f"0x{n}": n for n in range(20, 28)}, {}, "and 3 more"),
    ],
)
def test_a_changed_tactic_fails_and_is_named(
    store: Store, proved: Proved, held: dict[str, int], tactics: dict[str, str], message: str
) -> None:
    config = Config()
    replay = Replay(NEW, config, store, proved)
    assert config.cache is not None
    config.cache = Cache(config.cache.held | held)
    with pytest.raises(ReplayRefused) as refused:
        replay.check(config, TACTICS | tactics)
    assert refused.value.code == "tactics"
    assert message in refused.value.message


def test_a_version_without_editable_caches_is_refused(store: Store, proved: Proved) -> None:
    with pytest.raises(ReplayRefused, match=r"tensorrt 10\.6\.0 has no editable timing cache"):
        Replay(OLD, Config(), store, proved)


def test_another_gpu_and_lost_blobs_are_refused(store: Store, proved: Proved) -> None:
    with pytest.raises(ReplayRefused, match="does not take the timing cache"):
        Replay(NEW, Config(fits=False), store, proved)
    lost = Proved(digest_bytes(b"lost"), proved.tactics, None)
    with pytest.raises(ReplayRefused, match="what was chosen is lost"):
        Replay(NEW, Config(), store, lost)


def test_what_a_build_left_is_read_and_its_absence_refused() -> None:
    notes = {"timing_cache": {"after": "sha256:c"}, "tactics": "sha256:t", "workspace": 3}
    assert Proved.of(notes) == Proved("sha256:c", "sha256:t", 3)
    for less in ({}, notes | {"tactics": None}, notes | {"timing_cache": {"after": None}}):
        with pytest.raises(ReplayRefused, match="does not know which tactics"):
            Proved.of(less)


def test_a_lost_engine_s_build_is_held_to_the_first_where_the_version_can(store: Store) -> None:
    left = {"timing_cache": {"after": "sha256:c"}, "tactics": "sha256:t"}
    assert Aids(store).again(NEW, left).replay == Proved("sha256:c", "sha256:t", None)
    assert Aids(store).again(OLD, left).replay is None
    assert Aids().again(NEW, left).replay is None


def test_an_engine_that_was_never_proved_is_refused(store: Store, proved: Proved) -> None:
    aids = Aids(store, proved={"sha256:k": proved})
    assert aids.replaying("sha256:k").replay == proved
    with pytest.raises(ReplayRefused, match="no build of the engine sha256:other is known"):
        aids.replaying("sha256:other")


@pytest.mark.filterwarnings("ignore:.*TensorRT-RTX 1.2")
def test_the_real_classes_have_what_is_called() -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    assert editable(rtx)
    config = rtx.Builder(rtx.Logger(rtx.Logger.INTERNAL_ERROR)).create_builder_config()
    assert entries(config.create_timing_cache(b"")) == {}
    key = rtx.TimingCacheKey.parse("0x" + "0a" * 16)
    assert str(key) == "0x" + "0a" * 16
    assert rtx.TimingCacheValue(7, 0.5).tacticHash == 7
