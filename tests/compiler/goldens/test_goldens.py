"""Goldens: where their inputs come from, what fits, and what is refused."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compiler.goldens.goldens import (
    GoldenCase,
    GoldenSource,
    GoldensRefused,
    make_goldens,
)
from compiler.refused import Refused
from compiler.trace.examples import from_calls
from compiler.trace.export import trace
from compiler.trace.load import ModelRefused
from tests.compiler import small_models as models
from tests.compiler.small_models import profile, spec

INPUTS = (spec("x", "float32", "b", 2), spec("n", "int64", "b"))
PROFILES = (profile("short", b=(1, 2, 4)), profile("long", b=(8, 8, 16)))


class Scale(nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> dict[str, object]:
        return {"scaled": x * n[:, None], "rows": x.shape[0], "same": x}


def goldens(
    source: GoldenSource, model: nn.Module | None = None, folder: Path | None = None
) -> tuple[GoldenCase, ...]:
    """The cases; `folder` is where the source's entrypoint is found."""
    path = () if folder is None else (str(folder),)
    return make_goldens(model or Scale(), source, INPUTS, PROFILES, path)


def refusal(
    source: GoldenSource, model: nn.Module | None = None, folder: Path | None = None
) -> Refused:
    with pytest.raises((GoldensRefused, ModelRefused)) as caught:
        goldens(source, model, folder)
    return caught.value


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the search path, for `goldens_here.py`."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("goldens_here", None)
    yield tmp_path
    sys.modules.pop("goldens_here", None)


def entry(folder: Path, body: str, **kwargs: object) -> GoldenSource:
    (folder / "goldens_here.py").write_text(
        f"import numpy as np\nimport torch\ndef cases(**kwargs):\n    return {body}\n"
    )
    return GoldenSource("goldens_here:cases", tuple(kwargs.items()))


def test_a_seed_draws_min_opt_and_max_of_each_profile() -> None:
    cases = goldens(GoldenSource(seed=3, high=(("n", 50),)))
    assert {c.name: tuple(c.inputs["x"].shape) for c in cases} == {
        "short-min": (1, 2), "short-opt": (2, 2), "short-max": (4, 2), "short-high": (3, 2),
        "long-min": (8, 2), "long-opt": (8, 2), "long-max": (16, 2), "long-high": (11, 2),
    }  # fmt: skip
    numbers = torch.cat([c.inputs["n"] for c in cases])
    assert 2 < int(numbers.max()) < 50
    assert int(numbers.min()) >= 0
    again = goldens(GoldenSource(seed=3, high=(("n", 50),)))
    assert all(torch.equal(a.inputs["x"], b.inputs["x"]) for a, b in zip(cases, again, strict=True))
    other = goldens(GoldenSource(seed=4))
    assert not torch.equal(cases[0].inputs["x"], other[0].inputs["x"])


def test_a_seed_draws_as_many_as_asked() -> None:
    names = [c.name for c in goldens(GoldenSource(seed=0, cases=4))]
    assert names[:4] == ["short-min", "short-opt", "short-max", "short-high"]
    assert len(names) == 8
    names = [c.name for c in goldens(GoldenSource(seed=0, cases=6))]
    assert names[4:6] == ["short-min-1", "short-opt-1"]


def test_outputs_are_the_eager_models(written: Path) -> None:
    body = "[{'x': np.ones((2, 2), np.float32), 'n': torch.tensor([2, 3])}]"
    (case,) = goldens(entry(written, body), folder=written)
    assert case.name == "case_0"
    assert case.outputs["scaled"].tolist() == [[2, 2], [3, 3]]
    assert case.outputs["rows"] == 2
    assert case.outputs.keys() == {"scaled", "rows", "same"}
    assert not case.outputs["scaled"].is_inference()


def test_a_function_may_name_its_cases_and_takes_arguments(written: Path) -> None:
    body = "[('two', {'x': torch.ones(2, 2), 'n': torch.full((2,), kwargs['by'])})]"
    (case,) = goldens(entry(written, body, by=7), folder=written)
    assert case.name == "two"
    assert case.outputs["scaled"].tolist() == [[7, 7], [7, 7]]


def test_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "goldens.safetensors"
    tensors = {}
    for name, rows in (("one", 1), ("three", 3)):
        tensors |= {f"{name}/x": torch.ones(rows, 2), f"{name}/n": torch.arange(rows)}
    save_file(tensors, path)
    assert [c.name for c in goldens(GoldenSource(file=str(path)))] == ["one", "three"]
    save_file({"x": torch.ones(2, 2), "n": torch.arange(2)}, path)
    assert [c.name for c in goldens(GoldenSource(file=str(path)))] == ["case_0"]


def test_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "goldens.parquet"
    rows = {"case": ["a", "b"], "x": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]], "n": [[2], [1, 2]]}
    parquet.write_table(pa.table(rows), path)
    first, second = goldens(GoldenSource(file=str(path)))
    assert (first.name, second.name) == ("a", "b")
    assert first.inputs["x"].dtype == torch.float32
    assert second.outputs["scaled"].tolist() == [[1, 2], [6, 8]]


def test_files_that_do_not_read(tmp_path: Path) -> None:
    assert "expected an existing .safetensors" in str(refusal(GoldenSource(file="nowhere.parquet")))
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    error = refusal(GoldenSource(file=str(tmp_path / "bad.safetensors")))
    assert error.code == "file"
    assert "can't be read" in error.message


def test_a_golden_outside_every_profile_is_named(written: Path) -> None:
    error = refusal(
        entry(written, "[('wide', {'x': torch.ones(6, 2), 'n': torch.arange(6)})]"), folder=written
    )
    assert error.code == "profile"
    assert "golden 'wide' fits no profile" in error.message
    assert "short: b must be 1 to 4, got 6" in error.message
    assert "long: b must be 8 to 16, got 6" in error.message


def test_one_symbol_with_two_values(written: Path) -> None:
    error = refusal(
        entry(written, "[{'x': torch.ones(2, 2), 'n': torch.arange(3)}]"), folder=written
    )
    assert "'n': dimension 0 is 'b', which is 2 in input 'x', but got 3" in error.message


def test_wrong_rank(written: Path) -> None:
    error = refusal(entry(written, "[{'x': torch.ones(2), 'n': torch.arange(2)}]"), folder=written)
    assert "expected 2 dimensions [b, 2], got shape [2]" in str(error)


def test_derived_dimensions_fit() -> None:
    inputs = (spec("x", "float32", "b", "2*s"), spec("y", "float32", "b", "s"))
    one = (profile(b=(1, 2, 4), s=(1, 4, 8)),)
    cases = make_goldens(models.Doubled(), GoldenSource(seed=0), inputs, one)
    assert [tuple(c.inputs["x"].shape) for c in cases] == [
        (1, 2), (2, 8), (4, 16), (1, 6), (3, 10)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[{'x': torch.ones(2, 2)}]", "gives x; expected x, n"),
        ("[{'x': np.ones((2, 2)), 'n': torch.arange(2)}]", "'x' is float64, expected float32"),
        ("[]", "no case given"),
        ("[('../up', {'x': torch.ones(2, 2), 'n': torch.arange(2)})]", "golden '../up': expected"),
        ("[('a', {}), ('a', {})]", "with a unique name"),
        ("[7]", "returned int as case 0"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_cases_that_are_none(written: Path, body: str, message: str) -> None:
    assert message in str(refusal(entry(written, body), folder=written))


def test_exactly_one_source() -> None:
    assert refusal(GoldenSource()).code == "source"
    assert refusal(GoldenSource(seed=1, file="x.parquet")).code == "source"


def test_a_random_model_is_refused() -> None:
    class Noise(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x) + n[:, None]

    error = refusal(GoldenSource(seed=0), Noise())
    assert error.code == "random"
    assert "output 'output' differs between two runs" in error.message


def test_a_model_that_fails_on_a_golden_is_quoted() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            raise IndexError("index out of range in self")

    error = refusal(GoldenSource(seed=0), Fails())
    assert "fails on golden 'short-min' (x torch.float32 (1, 2), n torch.int64 (1,))" in str(error)
    assert "IndexError: index out of range" in str(error)


def test_a_result_that_is_no_tensor_is_named() -> None:
    class Text(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> dict[str, str]:
            return {"label": "cat"}

    assert "output 'label' is a str; expected a tensor" in str(
        refusal(GoldenSource(seed=0), Text())
    )


def test_bytes_and_back() -> None:
    for case in goldens(GoldenSource(seed=0)):
        again = GoldenCase.from_bytes(case.name, case.to_bytes())
        assert again.inputs.keys() == case.inputs.keys()
        assert all(torch.equal(again.outputs[k], v) for k, v in case.outputs.items())
        assert again.to_bytes() == case.to_bytes()


def test_sources_survive_json() -> None:
    one = GoldenSource("a:b", (("n", 1),), high=(("ids", 9),))
    assert GoldenSource.from_json(one.to_json()) == one
    assert GoldenSource.from_json({"seed": 3}) == GoldenSource(seed=3)


def test_deterministic_algorithms_are_as_before() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    goldens(GoldenSource(seed=0))
    assert torch.are_deterministic_algorithms_enabled() == before


def test_trace_with_a_goldens_real_inputs() -> None:
    class Looks(nn.Module):
        """Fails for ids that are not in its table: 0 and 1 are not."""

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.ones(8)[ids - 5] * 2

    inputs = (spec("ids", "int64", "b", "s"),)
    one = (profile(b=(1, 2, 4), s=(2, 8, 16)),)
    case = GoldenCase("real", {"ids": torch.tensor([[5, 9, 12]])}, {})
    made = from_calls([case.inputs], inputs)({"b": 2, "s": 5})
    assert made["ids"].tolist() == [[5, 9, 12, 5, 9]] * 2
    exported = trace(Looks(), inputs, one, from_calls([case.inputs], inputs))
    assert exported.module()(ids=torch.full((3, 4), 7)).shape == (3, 4)
