"""What a model's code reads is in its key, and nothing else: through the command and the loader."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import enginebundle
from tests.e2e.kiln import ROOT, command, environment

SOURCES = {
    "beside.py": "weights = lambda: torch.load(HERE / 'checkpoints/w.pt')",
    "pkg/models.py": "from common import scale\nweights = lambda: {'weight': torch.full((2, 2), scale.VALUE)}",
    "through.py": "import shared\nweights = lambda: {'weight': torch.full((2, 2), shared.VALUE)}",
    "configured.py": "weights = lambda: {'weight': torch.full((2, 2), float((HERE / 'a/config.json').read_text()))}",
}
HEAD = "from pathlib import Path\nimport torch\nHERE = Path(__file__).parent\n"
MAKE = """
def make():
    model = torch.nn.Linear(2, 2, bias=False)
    model.load_state_dict(weights())
    return model
"""
ENTRYPOINTS = {"beside": "beside", "package": "pkg.models", "through": "through"}


class Farm:
    """A manifest of four models, all built, and the command that knows of its PYTHONPATH."""

    def __init__(self, root: Path) -> None:
        self.root, self.ws, self.store = root, root / "ws", root / "store"
        for name, text in SOURCES.items():
            self.write(f"ws/{name}", HEAD + text + MAKE)
        self.write("ws/common/scale.py", "VALUE = 1.0")
        self.write("lib/shared.py", "VALUE = 1.0")
        self.write("site-packages/linter.py", "")
        self.linter("1.0")
        for part in ("a", "b"):
            self.write(f"ws/{part}/config.json", "1.0")
        (self.ws / "checkpoints").mkdir()
        self.train(1.0)
        common = {"inputs": {"x": {"dtype": "float32", "shape": [1, 2]}}, "targets": ["torch:cpu"]}
        models = [
            {"name": name, "source": {"entrypoint": f"{module}:make"}} | common
            for name, module in ENTRYPOINTS.items()
        ]
        files = {"files": ["a/config.json", "b/config.json"]}
        models.append(
            {"name": "configured", "source": {"entrypoint": "configured:make"}} | files | common
        )
        self.write("ws/m.yaml", json.dumps({"models": models}))

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def train(self, value: float) -> None:
        torch.save({"weight": torch.full((2, 2), value)}, self.ws / "checkpoints/w.pt")

    def linter(self, version: str) -> None:
        info = "site-packages/linter-1.dist-info"
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: linter\nVersion: {version}\n")
        self.write(f"{info}/RECORD", "linter.py,,\n")

    def files(self) -> dict[Path, bytes]:
        """All that the user has."""
        places = (self.ws, self.root / "lib", self.root / "site-packages")
        return {p: p.read_bytes() for place in places for p in place.rglob("*") if p.is_file()}

    def kiln(self, *words: str | Path) -> str:
        path = [self.root / "lib", self.root / "site-packages", ROOT]
        own = {"PYTHONPATH": os.pathsep.join(map(str, path))}
        done = subprocess.run(
            command(*words, "--store", self.store),
            env=environment(self.root / "home") | own,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self) -> str:
        return self.kiln("run", self.ws / "m.yaml", "--executor", "local")

    def traced_again(self) -> dict[str, str]:
        """The models whose traces the plan would run, with what it says changed."""
        planned = json.loads(self.kiln("plan", self.ws / "m.yaml", "-o", "json"))["tasks"]
        traces = [task for task in planned if task["step"] == "trace"]
        return {task["model"]: task["why"] for task in traces if task["status"] != "cached"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    made = Farm(tmp_path_factory.mktemp("reads"))
    made.run()
    return made


EDITS: dict[str, tuple[Callable[[Farm], object], dict[str, str]]] = {
    "nothing": (lambda farm: None, {}),
    "a sibling package": (
        lambda farm: farm.write("ws/common/scale.py", "VALUE = 2.0"),
        {"package": "file common/scale.py: other content"},
    ),
    "a module on PYTHONPATH": (
        lambda farm: farm.write("lib/shared.py", "VALUE = 2.0"),
        {"through": "file <PYTHONPATH 0>/shared.py: other content"},
    ),
    "the first of two files of one name": (
        lambda farm: farm.write("ws/a/config.json", "2.0"),
        {"configured": "file a/config.json: other content"},
    ),
    "the second": (
        lambda farm: farm.write("ws/b/config.json", "2.0"),
        {"configured": "file b/config.json: other content"},
    ),
    "a module that hides one that was found": (
        lambda farm: farm.write("ws/shared.py", "VALUE = 1.0"),
        {"through": "module shared: new, shared.py"},
    ),
    "a file beside a plain module": (lambda farm: farm.write("ws/notes.txt", ""), {}),
    "a module that nothing imports": (lambda farm: farm.write("ws/spare.py", ""), {}),
    "an upgrade of a linter": (lambda farm: farm.linter("2.0"), {}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_plan_traces_what_read_the_edited_file(farm: Farm, edit: str) -> None:
    change, expected = EDITS[edit]
    before = farm.files()
    change(farm)
    try:
        assert farm.traced_again() == expected
    finally:
        for path in farm.files().keys() - before.keys():
            path.unlink()
        for path, data in before.items():
            path.write_bytes(data)


def test_a_retrained_checkpoint_is_served(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.train(3.0)
    table = farm.kiln("plan", farm.ws / "m.yaml")
    assert "file checkpoints/w.pt: other content; 4 tasks behind it" in table
    assert "beside/build" not in table, "consequences are folded"
    farm.run()
    monkeypatch.setenv("ENGINEBUNDLE_HOME", str(farm.root / "home"))
    session = enginebundle.load(f"{farm.store}/beside")
    (answer,) = session(x=torch.ones(1, 2)).values()
    assert torch.as_tensor(answer).tolist() == [[6.0, 6.0]]
    told = farm.kiln("explain", "beside@1", "beside@2")
    assert told.splitlines()[:2] == ["trace: differs", "  file checkpoints/w.pt: other content"]
    farm.train(1.0)
    assert "every task cached" not in farm.run(), "the alias moves back"
    assert farm.traced_again() == {}
