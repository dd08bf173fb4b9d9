"""What goes along with a build of full TensorRT, on a GPU: timing caches, tactics, effort, progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.build.aids import GIB, Aids
from compiler.build.builder import BuildRefused, EngineOptions, Made, make_engine
from compiler.build.replay import Proved, ReplayRefused, editable
from compiler.build.timing_cache import holds_for
from compiler.convert.net import Net
from compiler.network.evaluate import evaluate
from compiler.network.network import Network
from enginebundle.format.digest import digest_json, parse_json
from enginebundle.format.graph import Graph
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.serve.machine import this_machine
from enginebundle.storage.store import Store
from tests.gpu.execute import execute

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

SHAPE = (2, 16, 32, 32)
GRAPH = Graph((TensorSpec("x", "float16", SHAPE),), (), (), (), ())
OPTIONS = EngineOptions((Profile("p", ()),))


@pytest.fixture(scope="module")
def trt() -> Any:
    return pytest.importorskip("tensorrt")


def network(layers: int) -> Network:
    """Convolutions; each further one has other sizes, so it must be timed."""
    generator = torch.Generator().manual_seed(0)
    net = Net()
    x = net.input("x", torch.float16, SHAPE)
    channels = 16
    for index in range(layers):
        net.node = f"conv{index}"
        weight = torch.randn(channels + 16, channels, 3, 3, generator=generator) / (
            3 * channels**0.5
        )
        x = net.convolution(
            x, net.constant(weight.half()), None, stride=(1, 1), pre=(1, 1), post=(1, 1),
            dilation=(1, 1), groups=1,
        )  # fmt: skip
        x = net.activation(x, "RELU")
        channels += 16
    return net.finish({"y": x}, {})


@pytest.fixture(scope="module")
def built(trt: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Made, Made]:
    """A store, a build that began with nothing, and one of a larger network that began with its timings."""
    store = Store.open(tmp_path_factory.mktemp("cost") / "store", create=True)
    first, second = (make_engine(trt, network(n), GRAPH, OPTIONS, Aids(store)) for n in (2, 3))
    return store, first, second


def test_a_build_begins_with_what_the_one_before_timed(built: tuple[Store, Made, Made]) -> None:
    store, first, second = built
    before, after = first.notes["timing_cache"], second.notes["timing_cache"]
    assert before["before"] is None
    assert after["before"] == before["after"] != after["after"]
    assert "notes" not in before | after
    sizes = [len(store.read_blob(one["after"])) for one in (before, after)]
    assert sizes[0] < sizes[1], "it times more and forgets nothing"
    assert after["for"]["gpu"] == torch.cuda.get_device_name()


def test_what_was_chosen_is_kept(built: tuple[Store, Made, Made]) -> None:
    store, _, second = built
    tactics = dict(parse_json(store.read_blob(second.notes["tactics"])))
    assert any("conv" in layer for layer in tactics)
    assert any(tactics.values())
    assert second.notes["workspace"] % GIB == 0


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_every_effort_builds_and_is_right(trt: Any, tmp_path: Path, effort: str) -> None:
    made = network(2)
    store = Store.open(tmp_path, create=True)
    engine = make_engine(trt, made, GRAPH, replace(OPTIONS, effort=effort), Aids(store)).engine
    feeds = {"x": torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).half()}
    got, want = execute(trt, engine, feeds)["y"], evaluate(made, feeds)["y"]  # type: ignore[arg-type]
    torch.testing.assert_close(got, want, atol=2e-2, rtol=2e-2)


def test_a_cache_that_tensorrt_does_not_take_is_noted(trt: Any, tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    key = digest_json(holds_for(trt, OPTIONS.without_sizes, this_machine()))
    store.move_timing(key, 0, {"cache": store.put_blob(b"no timing cache " * 100)})
    notes = make_engine(trt, network(2), GRAPH, OPTIONS, Aids(store)).notes["timing_cache"]
    number, record = store.timing(key)
    assert number == 2, "the good one took its place"
    assert record["cache"] == notes["after"]
    print(notes.get("notes"))


def test_a_build_is_stopped_while_it_times(trt: Any) -> None:
    told = 0

    def listen(_: object) -> bool:
        nonlocal told
        told += 1
        return told < 20

    with pytest.raises(BuildRefused) as refused:
        make_engine(trt, network(3), GRAPH, OPTIONS, Aids(listener=listen))
    assert refused.value.code == "cancelled"


def test_a_replay_keeps_the_tactics_or_says_why_it_can_t(
    trt: Any, built: tuple[Store, Made, Made]
) -> None:
    store, _, second = built
    aids = Aids(store, proved={"sha256:k": Proved.of(second.notes)}).replaying("sha256:k")
    if not editable(trt):
        with pytest.raises(ReplayRefused, match="has no editable timing cache"):
            make_engine(trt, network(3), GRAPH, OPTIONS, aids)
        return
    again = make_engine(trt, network(3), GRAPH, OPTIONS, aids)
    assert again.notes["tactics"] == second.notes["tactics"]
