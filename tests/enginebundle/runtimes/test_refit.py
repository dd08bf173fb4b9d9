"""What the loader asks of TensorRT's refitter, which needs a GPU: a stand-in that refuses as it says it does."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from enginebundle.errors import FormatError
from enginebundle.runtimes.refit import refit


class Refitter:
    """The refitter of an engine that lacks `a` (6 floats) and `b` (2 halves)."""

    wanted: ClassVar = {"a": ("FLOAT", 6), "b": ("HALF", 2)}
    refused: Sequence[str] = ()
    missing: Sequence[str] = ()
    works = True

    def __init__(self, engine: Any, logger: Any) -> None:
        self.set: dict[str, tuple[str, int, int]] = {}
        engine.refitter = self
        self.done = False

    def get_all_weights(self) -> list[str]:
        return list(self.wanted)

    def get_weights_prototype(self, name: str) -> Any:
        dtype, size = self.wanted[name]
        return SimpleNamespace(dtype=SimpleNamespace(name=dtype), size=size)

    def set_named_weights(self, name: str, weights: tuple[str, int, int]) -> bool:
        self.set[name] = weights
        return name not in self.refused

    def get_missing_weights(self) -> list[str]:
        return list(self.missing)

    def refit_cuda_engine(self) -> bool:
        self.done = True
        return self.works


def trt(**changes: Any) -> Any:
    kinds = SimpleNamespace(FLOAT="FLOAT", HALF="HALF")
    return SimpleNamespace(
        DataType=kinds,
        Weights=lambda dtype, address, count: (dtype, address, count),
        Refitter=type("Refitter", (Refitter,), changes),
    )


def weights() -> dict[str, torch.Tensor]:
    return {"a": torch.rand(2, 3), "b": torch.rand(2).half(), "c": torch.rand(9)}


def test_every_weight_that_the_engine_lacks_is_set_before_it_is_refitted() -> None:
    engine, given = SimpleNamespace(refittable=True), weights()
    assert refit(trt(), engine, None, given) == ""
    assert engine.refitter.set == {
        "a": ("FLOAT", given["a"].data_ptr(), 6),
        "b": ("HALF", given["b"].data_ptr(), 2),
    }
    assert engine.refitter.done


def test_an_engine_with_its_own_weights_is_left_alone() -> None:
    engine = SimpleNamespace(refittable=False)
    assert refit(trt(), engine, None, {}) == ""
    with pytest.raises(FormatError, match="its engine can't be refitted"):
        refit(trt(), engine, None, weights())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, "needs the weight 'a', which the bundle does not have"),
        ({"a": torch.rand(5)}, "'a': expected 6 elements of float32, got 5 of float32"),
        ({"a": torch.rand(6).half()}, "'a': expected 6 elements of float32, got 6 of float16"),
    ],
    ids=["missing", "size", "dtype"],
)
def test_weights_of_another_engine_are_refused(change: dict[str, Any], message: str) -> None:
    engine = SimpleNamespace(refittable=True)
    given = {name: t for name, t in (weights() | change).items() if t is not None}
    with pytest.raises(FormatError, match=message):
        refit(trt(), engine, None, given)
    assert not engine.refitter.done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"refused": ("b",)}, "weight 'b' was refused"),
        ({"missing": ("d", "e")}, "also needs 2 other weights, 'd' first"),
        ({"works": False}, "refitting failed"),
    ],
    ids=str,
)
def test_what_tensorrt_refuses_is_told(change: dict[str, Any], message: str) -> None:
    why = refit(trt(**change), SimpleNamespace(refittable=True), None, weights())
    assert message in why
