"""A small model's way through the rooms, recorded and held against docs/architecture.md.

The recording runs in a fresh process (`python -m tests.test_walk FOLDER`): what a process has cached
decides which rooms it enters again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.architecture import page

PACKAGES = ("enginebundle", "compiler", "orchestrator")
MODELS = page.ROOT / "tests" / "orchestrator" / "builders"
MANIFEST = """
models:
  - name: m
    source: { entrypoint: "tiny_models:tiny" }
    inputs: { x: { dtype: float32, shape: [b, 4] } }
    profiles: { all: { b: [1, 2, 4] } }
    min_nodes: 1
    targets: ["torch:cpu", "rtx:sm_89"]
"""


class Recorder:
    """The rooms whose functions are called, in the order of the first call of each.

    What a module does while it is imported is left out: when that happens is an accident.
    """

    def __init__(self) -> None:
        self.stages: dict[str, list[str]] = {}
        self._rooms: dict[CodeType, str] = {}
        self._importing = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        entered: dict[str, None] = {}

        def look(frame: FrameType, event: str, _: Any) -> None:
            code = frame.f_code
            if code.co_name == "<module>":
                self._importing += {"call": 1, "return": -1}.get(event, 0)
            elif event == "call" and not self._importing:
                if code not in self._rooms:
                    self._rooms[code] = room(code.co_filename)
                if self._rooms[code]:
                    entered.setdefault(self._rooms[code])

        sys.setprofile(look)
        try:
            yield
        finally:
            sys.setprofile(None)
        self.stages[name] = list(entered)


def room(file: str) -> str:
    """`lower` for a file of compiler/lower, `enginebundle` for the package's own `__init__`; empty
    for a file outside our packages. No two packages have a room of one name."""
    path = Path(file)
    if not path.is_relative_to(page.ROOT):
        return ""
    package, *rest = path.relative_to(page.ROOT).with_suffix("").parts
    if package not in PACKAGES:
        return ""
    return package if rest[0] == "__init__" else rest[0]


def walk(folder: Path) -> dict[str, list[str]]:
    """What `kiln run` does to one model, without its schedule and processes; then a service's load."""
    import torch

    import enginebundle
    from enginebundle.storage.store import Store
    from enginebundle.storage.trust import default_signer
    from orchestrator.commands.manifests import make_plan
    from orchestrator.manifest.load import loads
    from orchestrator.plan.content import contents
    from orchestrator.run.publish import Publisher
    from orchestrator.worker.outcome import Built
    from orchestrator.worker.steps import run_step

    recorder = Recorder()
    store = Store.open(folder / "store", create=True)
    publisher = Publisher(
        store, default_signer()
    )  # Makes the keys, as the first publish on a machine does.
    with recorder.stage("plan"):
        manifest = loads(MANIFEST, folder=MODELS)
        tasks = make_plan(manifest, contents(manifest), store, ()).tasks
    made: dict[str, Any] = {}
    for task in tasks:
        upstream = {need: made[need] for need in task.needs}
        step = task.step
        spec = task.spec | ({"trust": publisher.trust} if step == "validate" else {})
        with recorder.stage(task.id.removeprefix("m/")):
            if step in ("publish", "promote"):
                outcome = getattr(publisher, step)(task, upstream)
            else:
                output = run_step(step, spec, upstream, store.uri)
                outcome = publisher.finish(task, upstream, Built(output, 0.0))
        assert isinstance(outcome, Built), outcome
        made[task.id] = outcome.output
    with recorder.stage("load"):
        session = enginebundle.load(f"{store.uri}/m:latest")
        answer = session(x=torch.zeros(2, 4))
    assert answer["y"].shape == (2, 3)
    return recorder.stages


def test_a_model_goes_through_the_rooms_as_the_page_says(tmp_path: Path) -> None:
    environment = os.environ | {"ENGINEBUNDLE_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.test_walk", str(tmp_path)],
        cwd=page.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    walked = json.loads(done.stdout.splitlines()[-1])
    stated = page.block(page.PAGE.read_text(), "The way of a model")
    assert {stage: ", ".join(rooms) for stage, rooms in walked.items()} == stated


def test_a_recorder_sees_calls_but_not_imports(tmp_path: Path) -> None:
    from enginebundle.format.digest import digest_bytes
    from enginebundle.storage.store import Store

    recorder = Recorder()
    with recorder.stage("one"):
        digest_bytes(b"")
        Store.open(tmp_path / "store", create=True)
        digest_bytes(b"")
    imported = compile("digest_bytes(b'')", str(page.ROOT / "compiler/lower/new.py"), "exec")
    with recorder.stage("two"):
        exec(imported, {"digest_bytes": digest_bytes})
    assert recorder.stages["one"][:2] == ["format", "storage"]
    assert recorder.stages["two"] == []


if __name__ == "__main__":
    print(json.dumps(walk(Path(sys.argv[1]))))
