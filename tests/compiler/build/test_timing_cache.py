"""Timing caches in a store: borrowed, merged back, and never the end of a build.

TensorRT-RTX has the same classes but times nothing, so caches with content are stood in for by ones
that keep to what TensorRT's documentation says: entries of one GPU, of which conflicting ones stay.
"""

from __future__ import annotations

import json
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.build.timing_cache import Loan, holds_for, lend
from enginebundle.errors import StoreError
from enginebundle.format.digest import digest_bytes, digest_json
from enginebundle.serve.machine import Machine, this_machine
from enginebundle.storage.store import Store

TRT = SimpleNamespace(
    __name__="tensorrt", __version__="10.6.0", BuilderFlag=SimpleNamespace(__members__={})
)
OPTIONS = {"tf32": False, "effort": "default"}
KEY = digest_json(holds_for(TRT, OPTIONS, this_machine()))


class Cache:
    """ITimingCache with entries."""

    def __init__(self, data: bytes) -> None:
        held = json.loads(data or b'{"gpu": "here"}')
        self.gpu = held.pop("gpu")
        self.entries: dict[str, int] = held

    def serialize(self) -> bytes:
        return json.dumps({"gpu": self.gpu} | self.entries, sort_keys=True).encode()

    def combine(self, other: Cache, ignore_mismatch: bool) -> bool:
        self.entries = other.entries | self.entries
        return self.gpu == other.gpu or ignore_mismatch


class Config:
    """The part of IBuilderConfig about them. `build` times what the cache has not."""

    def __init__(self) -> None:
        self.cache: Cache | None = None
        self.timed: list[str] = []

    def create_timing_cache(self, data: bytes) -> Cache | None:
        try:
            return Cache(data)
        except ValueError:
            return None

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        if cache.gpu != "here" and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache

    def build(self, **layers: int) -> None:
        assert self.cache is not None
        self.timed = [name for name in layers if name not in self.cache.entries]
        self.cache.entries = layers | self.cache.entries


def borrow(store: Store) -> tuple[Config, Loan]:
    config = Config()
    return config, lend(TRT, config, store, OPTIONS)


def latest(store: Store) -> dict[str, int]:
    _, record = store.timing(KEY)
    held: dict[str, int] = json.loads(store.read_blob(record["cache"]))
    return held


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


def test_the_second_build_times_only_what_is_new(store: Store) -> None:
    config, loan = borrow(store)
    config.build(conv=1, relu=2)
    first = loan.give_back(config)
    assert first["before"] is None
    assert "notes" not in first

    config, loan = borrow(store)
    config.build(conv=7, pool=3)
    second = loan.give_back(config)
    assert config.timed == ["pool"]
    assert second["before"] == first["after"]
    assert latest(store) == {"gpu": "here", "conv": 1, "relu": 2, "pool": 3}
    assert store.timing(KEY) == (2, {"cache": second["after"], "bytes": 48, "for": second["for"]})


def test_a_build_that_times_nothing_new_moves_nothing(store: Store) -> None:
    for _ in range(3):
        config, loan = borrow(store)
        config.build(conv=1)
        loan.give_back(config)
    assert store.timing(KEY)[0] == 1


def test_two_builds_at_once_keep_each_other_s_timings(store: Store) -> None:
    slow, slow_loan = borrow(store)
    fast, fast_loan = borrow(store)
    fast.build(conv=1, pool=2)
    slow.build(conv=5, relu=3)
    fast_loan.give_back(fast)
    told = slow_loan.give_back(slow)
    assert latest(store) == {"gpu": "here", "conv": 1, "pool": 2, "relu": 3}
    kept = json.loads(store.read_blob(told["after"]))
    assert kept == {"gpu": "here", "conv": 5, "relu": 3}, "what this build had, for its record"


def test_of_many_builds_at_once_none_is_lost(store: Store) -> None:
    def build(number: int) -> None:
        config, loan = borrow(store)
        config.build(**{f"layer{number}": number})
        loan.give_back(config)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(build, range(24)))
    assert latest(store) == {"gpu": "here"} | {f"layer{n}": n for n in range(24)}


@pytest.mark.parametrize("damage", ["blob", "gone", "record", "format", "gpu"])
def test_a_bad_cache_is_noted_and_replaced(store: Store, tmp_path: Path, damage: str) -> None:
    config, loan = borrow(store)
    config.build(conv=1)
    blob = tmp_path / "blobs/sha256" / _path(loan.give_back(config)["after"])
    if damage == "blob":
        blob.write_bytes(b"x" * len(blob.read_bytes()))
    elif damage == "gone":
        blob.unlink()
    elif damage == "record":
        store.move_timing(KEY, 1, {"cache": "../../etc"})
    else:
        data = b"no cache" if damage == "format" else b'{"gpu": "another"}'
        store.move_timing(KEY, 1, {"cache": store.put_blob(data)})

    config, loan = borrow(store)
    config.build(relu=2)
    told = loan.give_back(config)
    assert told["before"] is None
    assert told["notes"][0].startswith("ignored: ")
    assert latest(store) == {"gpu": "here", "relu": 2}
    config, _ = borrow(store)
    config.build(relu=2)
    assert config.timed == []


def _path(digest: str) -> str:
    text = digest.removeprefix("sha256:")
    return f"{text[:2]}/{text}"


def test_a_store_that_fails_ends_no_build(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    config, loan = borrow(store)
    config.build(conv=1)

    def full(data: Any) -> str:
        raise StoreError("no space left")

    monkeypatch.setattr(store, "put_blob", full)
    told = loan.give_back(config)
    assert told["after"] is None
    assert told["notes"] == ["not kept: no space left"]


def test_what_a_cache_holds_for() -> None:
    machine = Machine("sm_90", (), "NVIDIA H200", "580.1", "13.0")
    own = holds_for(TRT, OPTIONS, machine)
    assert own == {
        "gpu": "NVIDIA H200", "driver": "580.1", "cuda": "13.0", "tensorrt": "10.6.0",
        "options": OPTIONS,
    }  # fmt: skip
    for other in (Machine("sm_90", (), "NVIDIA H100", "580.1", "13.0"),
                  Machine("sm_90", (), "NVIDIA H200", "590.1", "13.0")):  # fmt: skip
        assert holds_for(TRT, OPTIONS, other) != own
    assert holds_for(TRT, OPTIONS | {"effort": "max"}, machine) != own


@pytest.mark.filterwarnings("ignore:.*TensorRT-RTX 1.2")
def test_the_real_classes_take_these_calls(store: Store) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    module = types.ModuleType("tensorrt")
    module.__dict__.update({"__version__": rtx.__version__, "BuilderFlag": rtx.BuilderFlag})
    builder = rtx.Builder(rtx.Logger(rtx.Logger.INTERNAL_ERROR))
    for number in range(2):
        config = builder.create_builder_config()
        loan = lend(module, config, store, OPTIONS)
        assert config.get_flag(rtx.BuilderFlag.EDITABLE_TIMING_CACHE)
        told = loan.give_back(config)
        assert told["after"] is not None
        assert "notes" not in told
        assert (told["before"] == told["after"]) == bool(number)
    # and those of a race
    loan = Loan(store, loan.conditions, loan.cache, digest_bytes(b"older"))
    assert "notes" not in loan.give_back(config)
