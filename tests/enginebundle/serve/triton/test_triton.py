"""Bundles as models for Triton: what is written, when rows are batched, and what the Python model answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from enginebundle.errors import FormatError, NotFoundError, NoVariantError, StoreError
from enginebundle.format.index import Index
from enginebundle.format.spec import Profile, Range, Target, TensorSpec
from enginebundle.format.variant import Variant
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.session import Session
from enginebundle.serve.triton import config
from enginebundle.serve.triton.config import Batching
from enginebundle.serve.triton.export import export_triton
from enginebundle.serve.triton.rows import rows_apart
from enginebundle.serve.validate import validate_and_sign
from enginebundle.storage.store import Store
from enginebundle.storage.trust import default_signer
from tests.enginebundle.examples import CPU, MASK, X, Y, engine_variant, expected, index, publish

TRT = Target.parse("trt:sm_90")


def rows_index(store: Store) -> Index:
    """The small bundle without its output of rank 0, so that all tensors have the batch in front; and an engine."""
    made = index(store, "rows")
    cpu, rtx = made.variants
    engine = engine_variant("trt:sm_90", rtx.parts[0].segments[0].blob, "10.6.0")
    return replace(made, outputs=(Y,), variants=tuple(map(without_rows, (cpu, engine))))


def without_rows(variant: Variant) -> Variant:
    (part,) = variant.parts
    (segment,) = part.segments
    if segment.kind == "engine":
        segment = replace(segment, outputs=segment.outputs[:1])
    part = replace(part, segments=(segment,), returns=part.returns[:1])
    bounds = tuple(one for one in variant.tolerances if one[0] == "y")
    return replace(variant, parts=(part,), tolerances=bounds)


def published(store: Store, made: Index) -> Bundle:
    raw = made.to_bytes()
    version = store.publish(made.name, raw, default_signer().sign(raw))
    validate_and_sign(store, version, CPU)
    return Bundle.open(store, version)


# What Triton gives a model in Python, as far as this one uses it.


@dataclass
class Tensor:
    name: str
    value: Any

    @staticmethod
    def from_dlpack(name: str, capsule: Any) -> Tensor:
        return Tensor(name, torch.utils.dlpack.from_dlpack(capsule).numpy())

    def to_dlpack(self) -> Any:
        tensor = torch.from_numpy(self.value)
        return (tensor.view(torch.uint8) if tensor.dtype is torch.bool else tensor).__dlpack__()


@dataclass
class InferenceResponse:
    outputs: list[Tensor] | None = None
    error: Exception | None = None


@pytest.fixture
def utils(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.InferenceResponse = Tensor, InferenceResponse
    module.TritonError = RuntimeError
    module.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def served(repository: Path, name: str, version: int = 1, most: int = 0) -> Any:
    """The exported `model.py`, as Triton starts it."""
    path = repository / name / str(version) / "model.py"
    spec = importlib.util.spec_from_file_location("exported_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    told = {"max_batch_size": most, "parameters": {"target": {"string_value": "torch:cpu"}}}
    model.initialize({"model_config": json.dumps(told), "model_instance_kind": "CPU"})
    return model


def request(rows: int, batched: bool) -> tuple[dict[str, Tensor], torch.Tensor]:
    x, mask = torch.randn(rows, 3), torch.rand(rows) > 0.5
    shown = mask.unsqueeze(1) if batched else mask
    given = {"x": Tensor("x", x.numpy()), "mask": Tensor("mask", shown.numpy())}
    return given, expected(x, mask)["y"]


def test_the_exported_model_answers_and_puts_rows_together(
    store: Store, tmp_path: Path, utils: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = export_triton(published(store, rows_index(store)), tmp_path / "repo", CPU)
    assert (made.names, made.plan, made.most) == (("rows",), False, 16)
    model = served(tmp_path / "repo", "rows", most=made.most)
    called: list[int] = []
    usual = Session.__call__

    def counting(self: Session, /, *placed: Any, **inputs: Any) -> Any:
        called.append(len(inputs["x"]))
        return usual(self, *placed, **inputs)

    monkeypatch.setattr(Session, "__call__", counting)
    for sizes, calls in (
        ((1, 2, 3), [6]),
        ((4,), [4]),
        ((9, 9), [18, 9, 9]),  # together more than any profile has
        ((1, 16, 20), [37, 1, 16, 20]),
    ):
        called.clear()
        requests = [request(rows, batched=True) for rows in sizes]
        answers = model.execute([given for given, _ in requests])
        assert called == calls
        for rows, answer, (_, want) in zip(sizes, answers, requests, strict=True):
            if rows > 16:
                assert "no profile contains b=20" in str(answer.error)
            else:
                (got,) = answer.outputs
                torch.testing.assert_close(torch.from_numpy(got.value), want)
    model.finalize()
    assert "is closed" in str(model.execute([request(1, batched=True)[0]])[0].error)


def test_a_model_without_a_batch_answers_each_request(
    store: Store, tmp_path: Path, utils: None
) -> None:
    version = publish(store)
    validate_and_sign(store, version, CPU)
    made = export_triton(Bundle.open(store, version), tmp_path / "repo", CPU)
    assert made.most == 0
    assert "same first dimension" in made.notes[0]
    model = served(tmp_path / "repo", "tiny")
    requests = [request(rows, batched=False) for rows in (3, 3, 5)]
    answers = model.execute([given for given, _ in requests])
    for answer, (given, want) in zip(answers, requests, strict=True):
        y, rows = answer.outputs
        torch.testing.assert_close(torch.from_numpy(y.value), want)
        assert rows.value.tolist() == [len(given["x"].value)]  # a size of 1 for none
    assert (tmp_path / "repo/tiny/1/bundle/bundle.json").exists()


def test_an_exported_model_is_verified_when_it_starts(
    store: Store, tmp_path: Path, utils: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_triton(published(store, rows_index(store)), tmp_path / "repo", CPU)
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(Exception, match="trust"):
        served(tmp_path / "repo", "rows")


# Batches


def changed(made: Index, **shapes: tuple[Any, ...]) -> Index:
    """The index with other shapes of inputs and outputs; nothing that opens."""
    new = {
        kind: tuple(replace(s, shape=shapes.get(s.name, s.shape)) for s in getattr(made, kind))
        for kind in ("inputs", "outputs")
    }
    return replace(made, **new)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "symbol"),
    [
        ({}, "b"),
        ({"mask": ("b", "b")}, None),
        ({"y": ("b", "2*b")}, None),
        ({"mask": ("2*b",)}, None),
        ({"y": (4, 2)}, None),
        ({"y": ()}, None),
        ({"x": (3, "b")}, None),
    ],
)
def test_the_batch_is_the_first_dimension_of_everything(
    store: Store, shapes: dict[str, Any], symbol: str | None
) -> None:
    assert config.batch_symbol(changed(rows_index(store), **shapes)) == symbol


def test_a_batch_is_one_that_every_profile_contains(store: Store) -> None:
    made = rows_index(store)  # short: 1 to 4, long: 2 to 16
    assert config.batching(made, "b") == Batching("b", 4, (2,))
    assert config.batching(made, "b", merged_elsewhere=True) == Batching("b", 16, (2, 8))
    one = replace(made, profiles=(Profile("short", (("b", Range(1, 1, 1)),)), made.profiles[1]))
    assert config.batching(one, "b") == Batching("b", 1, ())


@pytest.mark.parametrize(
    ("wrong", "apart"),
    [(lambda y: y, True), (lambda y: y - y.mean(0), False), (lambda y: y.flip(0), False)],
    ids=["each by itself", "a mean over the batch", "the other way round"],
)
def test_rows_are_tried_apart(store: Store, wrong: Any, apart: bool) -> None:
    bundle = published(store, rows_index(store))
    with Session(bundle, bundle.variant(CPU)) as session:
        assert rows_apart(session, bundle, bundle.variant(CPU)) is True

        def other(**inputs: torch.Tensor) -> Any:
            return {"y": wrong(session(**inputs)["y"])}

        assert rows_apart(other, bundle, bundle.variant(CPU)) is apart


def test_goldens_that_can_not_be_cut_show_nothing(store: Store) -> None:
    made = rows_index(store)
    bundle = published(store, replace(made, goldens=made.goldens[:1]))  # of one row
    with Session(bundle, bundle.variant(CPU)) as session:
        assert rows_apart(session, bundle, bundle.variant(CPU)) is None


# Plans


def test_an_engine_becomes_a_plan_and_an_ensemble(store: Store, tmp_path: Path) -> None:
    made = rows_index(store)
    engine = made.variants[1]
    (part,) = engine.parts
    own = replace(part.segments[0], outputs=(TensorSpec('mul "3"', "float32", ("b", 2)),))
    part = replace(part, segments=(own,), returns=(own.outputs[0].name,))
    made = replace(made, variants=(made.variants[0], replace(engine, parts=(part,))))
    written = export_triton(published(store, made), tmp_path / "repo", TRT, allow_pending=True)
    assert (written.names, written.plan, written.most) == (("rows_plan", "rows"), True, 4)
    assert written.notes == ("TensorRT backend: the server needs TensorRT 10.6.0",)
    assert (tmp_path / "repo/rows_plan/1/model.plan").read_bytes() == b"not an engine"
    assert list((tmp_path / "repo/rows/1").iterdir()) == []
    assert (tmp_path / "repo/rows_plan/config.pbtxt").read_text() == PLAN
    assert (tmp_path / "repo/rows/config.pbtxt").read_text() == ENSEMBLE


PLAN = r"""name: "rows_plan"
platform: "tensorrt_plan"
max_batch_size: 4
input {
  name: "x"
  data_type: TYPE_FP32
  dims: 3
}
input {
  name: "mask"
  data_type: TYPE_BOOL
  dims: 1
  reshape {
  }
}
output {
  name: "mul \0423\042"
  data_type: TYPE_FP32
  dims: 2
}
instance_group {
  count: 1
  kind: KIND_GPU
  profile: "0"
  profile: "1"
}
dynamic_batching {
  preferred_batch_size: 2
}
"""
ENSEMBLE = r"""name: "rows"
platform: "ensemble"
max_batch_size: 4
input {
  name: "x"
  data_type: TYPE_FP32
  dims: 3
}
input {
  name: "mask"
  data_type: TYPE_BOOL
  dims: 1
}
output {
  name: "y"
  data_type: TYPE_FP32
  dims: 2
}
ensemble_scheduling {
  step {
    model_name: "rows_plan"
    model_version: -1
    input_map {
      key: "x"
      value: "x"
    }
    input_map {
      key: "mask"
      value: "mask"
    }
    output_map {
      key: "mul \0423\042"
      value: "y"
    }
  }
}
"""


def test_what_is_no_single_engine_goes_to_the_python_backend(store: Store) -> None:
    made = rows_index(store)
    cpu, engine = made.variants
    (part,) = engine.parts
    (segment,) = part.segments
    assert config.plan_of(made, engine) == segment

    def reason(**changes: Any) -> str:
        found = config.plan_of(made, replace(engine, **changes))
        assert isinstance(found, str)
        return found

    def with_segment(**changes: Any) -> str:
        return reason(parts=(replace(part, segments=(replace(segment, **changes),)),))

    assert config.plan_of(made, cpu) == "torch:cpu holds no TensorRT engines"
    halves = tuple(replace(part, profiles=(name,)) for name in ("short", "long"))
    assert "more than one engine" in reason(parts=halves)
    assert "weights or plugins" in with_segment(weights=segment.blob)
    assert "weights or plugins" in with_segment(plugins=("P@1",))
    assert "settings of the whole server" in reason(version_compatible=True)
    assert "does not read every input" in with_segment(inputs=(X,))
    assert "or is an input" in reason(parts=(replace(part, returns=("x",)),))


def test_what_may_not_be_exported(store: Store, tmp_path: Path) -> None:
    bundle = published(store, rows_index(store))
    with pytest.raises(NoVariantError, match="trt:sm_90 is pending; Triton would serve it"):
        export_triton(bundle, tmp_path / "repo", TRT)
    with pytest.raises(NotFoundError, match="has no variant rtx:sm_75"):
        export_triton(bundle, tmp_path / "repo", Target.parse("rtx:sm_75"))
    export_triton(bundle, tmp_path / "repo", CPU)
    with pytest.raises(StoreError, match="already exists"):
        export_triton(bundle, tmp_path / "repo", CPU)
    assert [p.name for p in (tmp_path / "repo").iterdir()] == ["rows"]
    odd = replace(rows_index(store), inputs=(replace(X, dtype="complex64"), MASK))
    with pytest.raises(FormatError, match="Triton has no type for complex64"):
        config.python_config("rows", odd, odd.variants[0], None)
