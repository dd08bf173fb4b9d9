"""What a bundle has beside tensors, from the manifest to a call: the form of the results, sizes between
the profiles, attached files."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

import enginebundle
from enginebundle.errors import InputError
from tests.e2e.kiln import kiln

CODE = """
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput


class Model(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.linear, self.form = nn.Linear(4, 4), form

    def forward(self, x):
        y = self.linear(x)
        if self.form == "hf":
            return BaseModelOutput(last_hidden_state=y, hidden_states=(x, y.relu()))
        if self.form == "nested":
            return {"best": torch.max(y, 1), "rest": [y, (None, y + 1)]}
        return y


def model(form):
    torch.manual_seed(0)
    return Model(form)
"""
MODEL = """
  - name: {form}
    source: {{entrypoint: "forms:model", kwargs: {{form: {form}}}}}
    inputs:
      x: {{dtype: float32, shape: [b, 4]}}
    profiles: {{few: {{b: [2, 3, 4]}}, many: {{b: [8, 8, 9]}}}}
    goldens: {{seed: 1}}
    targets: ["torch:cpu"]
"""
ATTACHED = """    attachments: {labels.txt: names.txt, tokenizer: tok}
"""
FORMS = ("hf", "nested", "single")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    (folder / "forms.py").write_text(CODE)
    (folder / "tok").mkdir()
    (folder / "tok" / "vocab.json").write_text('{"a": 0}')
    (folder / "names.txt").write_text("Katze")
    models = "".join(MODEL.format(form=form) for form in FORMS)
    (folder / "m.yaml").write_text(f"models:{models}{ATTACHED}")
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(folder: Path) -> CompletedProcess[str]:
    return kiln(
        folder / "home", "run", folder / "m.yaml", "--store", folder / "store", "--executor", "local"
    )  # fmt: skip


@pytest.fixture
def eager(work: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(work / "home"))
    monkeypatch.syspath_prepend(work)
    return __import__("forms").model


X = torch.arange(12.0).reshape(3, 4) / 10


def test_a_model_outputs_type_comes_back(work: Path, eager: Any) -> None:
    session = enginebundle.load(f"{work}/store/hf")
    with torch.no_grad():
        want = eager("hf")(X)
    got = session.structured([BaseModelOutput])(X)
    assert type(got) is BaseModelOutput
    assert got.keys() == want.keys()
    for one, other in zip(got.to_tuple(), want.to_tuple(), strict=True):
        torch.testing.assert_close(one, other)
    record = session.structured()(X)
    torch.testing.assert_close(record.last_hidden_state, want.last_hidden_state)
    assert record.attentions is None
    assert len(record.hidden_states) == 2
    assert list(session(X)) == ["last_hidden_state", "hidden_states_0", "hidden_states_1"]
    with pytest.raises(InputError, match=r"BaseModelOutput'\]\), got \['builtins.dict'\]"):
        session.structured([dict])


def test_nested_containers_come_back(work: Path, eager: Any) -> None:
    with torch.no_grad():
        want = eager("nested")(X)
    got = enginebundle.load(f"{work}/store/nested").structured()(x=X)
    assert torch.equal(got["best"].indices, want["best"].indices)
    torch.testing.assert_close(got["best"][0], want["best"].values)
    assert isinstance(got["rest"], list)
    assert got["rest"][1][0] is None
    torch.testing.assert_close(got["rest"][1][1], want["rest"][1][1])


def test_a_single_tensor_comes_back(work: Path, eager: Any) -> None:
    session = enginebundle.load(f"{work}/store/single")
    with torch.no_grad():
        torch.testing.assert_close(session.structured()(X), eager("single")(X))
    assert list(session(X)) == ["output"]


def test_between_the_profiles_the_torch_graph_answers(work: Path, eager: Any) -> None:
    session = enginebundle.load(f"{work}/store/single")
    for rows in (3, 6, 9, 5):
        x = torch.arange(rows * 4.0).reshape(rows, 4)
        with torch.no_grad():
            torch.testing.assert_close(session(x)["output"], eager("single")(x))
    assert session.stats.outside == 2
    with pytest.raises(InputError, match="the nearest is 'many'"):
        session(torch.ones(10, 4))


def test_attached_files_come_along_and_a_change_publishes_a_version(work: Path, eager: Any) -> None:
    session = enginebundle.load(f"{work}/store/single")
    assert list(session.files) == ["labels.txt", "tokenizer/vocab.json"]
    assert session.files.text("labels.txt") == "Katze"
    assert not len(enginebundle.load(f"{work}/store/hf").files)
    (work / "names.txt").write_text("Hund")
    done = run(work)
    assert done.returncode == 0, done.stdout + done.stderr
    later = enginebundle.load(f"{work}/store/single")
    assert (session.version.number, later.version.number) == (1, 2)
    assert later.files.text("labels.txt") == "Hund"
    assert session.files.text("labels.txt") == "Katze"
    assert enginebundle.load(f"{work}/store/hf").version.number == 1
    (work / "names.txt").unlink()
    done = run(work)
    assert done.returncode == 2
    assert "no file or folder" in done.stderr + done.stdout
