"""Sources: what loads, and what a source that gives no model is told."""

import pickle
from pathlib import Path

import pytest
import torch

from compiler.trace.load import ModelRefused, load_model
from compiler.trace.source import Source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of entrypoints; sys.path is as before afterwards."""
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("entries_here", "broken_here"):
        sys.modules.pop(name, None)
    (tmp_path / "entries_here.py").write_text(
        "import torch\n"
        "def linear(size=4):\n    return torch.nn.Linear(size, size)\n"
        "def number():\n    return 7\n"
        "def fails():\n    raise RuntimeError('weights are missing')\n"
        "word = 'text'\n"
    )
    (tmp_path / "broken_here.py").write_text("import no_such_package_anywhere\n")
    return tmp_path


def source(folder: Path, entrypoint: str, **kwargs: object) -> Source:
    return Source(entrypoint, kwargs=tuple(kwargs.items()), search_path=(str(folder),))


def refusal(one: Source) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        load_model(one)
    return caught.value


def test_entrypoint_gives_a_module_in_eval_mode(folder: Path) -> None:
    model = load_model(source(folder, "entries_here:linear", size=3))
    assert isinstance(model, torch.nn.Linear)
    assert model.in_features == 3
    assert not model.training


def test_source_survives_json(folder: Path) -> None:
    one = source(folder, "entries_here:linear", size=3)
    assert Source.from_json(one.to_json()) == one


def test_module_that_does_not_exist(folder: Path) -> None:
    error = refusal(source(folder, "nowhere_to_be_found:f"))
    assert error.code == "import"
    assert "No module named 'nowhere_to_be_found'" in str(error)
    assert "search_path" in error.remedy


def test_module_that_fails_to_import_quotes_the_cause(folder: Path) -> None:
    assert "no_such_package_anywhere" in str(refusal(source(folder, "broken_here:f")))


def test_missing_function_names_those_there_are(folder: Path) -> None:
    error = refusal(source(folder, "entries_here:liner"))
    assert error.code == "function"
    assert "has no 'liner'; it has fails, linear, number" in error.message


def test_entrypoint_that_is_no_function(folder: Path) -> None:
    assert "names a str; expected a function" in str(refusal(source(folder, "entries_here:word")))


def test_entrypoint_without_colon(folder: Path) -> None:
    assert "package.module:function" in str(refusal(source(folder, "entries_here.linear")))


def test_function_that_returns_no_module(folder: Path) -> None:
    error = refusal(source(folder, "entries_here:number"))
    assert error.code == "not_a_module"
    assert "returned int; expected a torch.nn.Module" in error.message


def test_function_that_raises_quotes_the_cause(folder: Path) -> None:
    error = refusal(source(folder, "entries_here:fails"))
    assert error.code == "raised"
    assert "RuntimeError: weights are missing" in error.message


def test_neither_or_both_sources() -> None:
    assert refusal(Source()).code == "source"
    assert refusal(Source("a:b", "c.pt2")).code == "source"


def test_program_file_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "linear.pt2"
    exported = torch.export.export(torch.nn.Linear(4, 4).eval(), (torch.randn(2, 4),))
    torch.export.save(exported, path)
    error = refusal(Source(program=str(path)))
    assert error.code == "untrusted"
    assert "pickle" in error.message
    model = load_model(Source(program=str(path), trusted=True))
    assert model(torch.ones(2, 4)).shape == (2, 4)


def test_program_file_that_is_missing_or_no_program(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(Source(program=str(tmp_path / "x.pt2"), trusted=True)))
    (tmp_path / "bad.pt2").write_bytes(b"not an archive")
    assert "does not open" in str(refusal(Source(program=str(tmp_path / "bad.pt2"), trusted=True)))


def test_a_refusal_survives_a_process_border(folder: Path) -> None:
    error = refusal(source(folder, "entries_here:number"))
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.message, again.remedy) == (error.code, error.message, error.remedy)
