"""A user's folder with a module `own`, run as a recorded step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginebundle.storage.store import Store
from orchestrator.plan.inputs.lists import Finder, spelled_out
from orchestrator.worker.attempt import Attempt, perform
from orchestrator.worker.outcome import Built, Cached, Outcome
from tests.orchestrator.worker.test_isolate import BUILDERS

START = "from pathlib import Path\nimport os\nHERE = Path(__file__).parent\n"


class User:
    """A folder with the user's module `own`, and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder / "ws", Store.open(folder / "store", create=True)
        self.folder.mkdir()

    def code(self, text: str) -> None:
        (self.folder / "own.py").write_text(START + text)

    def find(self, unrecorded: str = "refuse") -> Any:
        made = self.attempt(unrecorded=unrecorded)
        return Finder(self.store, self.store.result).of(made.step, made.spec, made.identity)

    def attempt(self, function: str = "read", unrecorded: str = "refuse") -> Attempt:
        source = {"entrypoint": "own:value", "search_path": [str(self.folder)]}
        spec = {"source": source, "unrecorded": unrecorded}
        identity = {"step": "trace", "unrecorded": unrecorded}
        return Attempt(
            id="m/trace", number=1, run="r", step="trace", spec=spec, upstream={},
            identity=identity, store=self.store.uri, cpus=1.0, memory=1 << 30, timeout=60.0,
            function=f"reading_steps:{function}", path=(BUILDERS,),
        )  # fmt: skip

    def run(self, **how: str) -> Outcome:
        return perform(self.attempt(**how))[0]

    def value(self) -> tuple[str, bool]:
        """What the step gives, and whether it had to run for it."""
        ended = self.run()
        assert isinstance(ended, Built | Cached), ended
        return str(ended.output["value"]), isinstance(ended, Built)

    def inputs(self) -> dict[str, Any]:
        record = self.find()
        assert record is not None
        return dict(spelled_out(self.store, record["identity"])["inputs"])
