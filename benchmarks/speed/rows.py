"""What there is to measure, in the order of what it tells, and the file in which rows are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.subjects import BATCH, FIRST, SUBJECTS

STATIC = ("ours", "onnx")
TORCH = ("inductor", "eager")
DYNAMIC = ("ours-dynamic", "onnx-dynamic", "inductor-dynamic")
PATHS = (*STATIC, *TORCH, *DYNAMIC)
MORE = ("onnx-border", "inductor-marked", "inductor-tuned")
"""Only on request."""
PRECISIONS = ("fp16", "fp32")
BUILDS = 3


@dataclass(frozen=True)
class Key:
    """A row: a model, its precision, how it runs, and which of its builds this is (from 1).

    `path` is one of PATHS or MORE, or one of STATIC or DYNAMIC with an experiment: `ours+NAME`.
    """

    model: str
    precision: str
    path: str
    build: int = 1
    batch: int = BATCH
    """Of a static path."""

    @property
    def experiment(self) -> str:
        return self.path.partition("+")[2]

    @property
    def way(self) -> str:
        return "dynamic" if "dynamic" in self.path or "marked" in self.path else "static"

    @property
    def source(self) -> str:
        """Who makes what runs: `ours`, `onnx`, `inductor` or `eager`."""
        return self.path.partition("+")[0].partition("-")[0]

    @property
    def is_engine(self) -> bool:
        return self.source in ("ours", "onnx")


def keys(
    models: Sequence[str], precisions: Sequence[str], paths: Sequence[str], builds: int
) -> list[Key]:
    """The most telling ones first: fp16 of four models once, then Inductor, then dynamic batches, then
    more builds, then the other models, then fp32."""
    found = []
    for precision in precisions:
        for group in (FIRST, tuple(n for n in SUBJECTS if n not in FIRST)):
            for chosen, numbers in _stages(builds):
                for model in group:
                    found += [
                        Key(model, precision, path, number)
                        for number in numbers
                        for path in paths
                        if model in models and path in chosen
                    ]
    extra = [p for p in paths if p not in PATHS]
    return found + [
        Key(model, precision, path, number)
        for precision in precisions
        for model in models
        for path in extra
        for number in range(1, (builds if Key(model, precision, path).is_engine else 1) + 1)
    ]


def _stages(builds: int) -> Iterator[tuple[tuple[str, ...], Sequence[int]]]:
    yield STATIC, (1,)
    yield TORCH, (1,)
    yield DYNAMIC, (1,)
    yield (*STATIC, "ours-dynamic", "onnx-dynamic"), range(2, builds + 1)


class Record:
    """Rows in a file of JSON lines, appended as they come. The last row of a key counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = {_key(row): row for row in map(json.loads, lines)}

    def add(self, key: Key, row: Mapping[str, Any]) -> None:
        self.rows[key] = asdict(key) | dict(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as lines:
            lines.write(json.dumps(self.rows[key]) + "\n")


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["model"], row["precision"], row["path"], row["build"], row.get("batch", BATCH))
