"""What a user asks for, as frozen values: models x targets x profiles.

`manifest_load.load` reads them from YAML. Nothing here touches files, torch or pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from compiler.replace.replacement import Replacement
from enginebundle.format.digest import Digest, digest_json
from enginebundle.format.spec import Profile, Target, TensorSpec

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""How a model computes. `fp32` means fp32: TF32 is off unless it is asked for by name."""

ANY_OUTPUT = "*"
"""The name under which a tolerance holds for every output that has none of its own."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: an `entrypoint` ("package.module:function") or a `.pt2` program.

    `kwargs` are the entrypoint's keyword arguments (JSON values). `search_path` are folders put
    before `sys.path` to find it. `trusted` is the user's word that a program file may be opened.
    """

    entrypoint: str | None = None
    program: Path | None = None
    kwargs: tuple[tuple[str, Any], ...] = ()
    trusted: bool = False
    search_path: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "entrypoint": self.entrypoint,
            "program": None if self.program is None else str(self.program),
            "kwargs": dict(self.kwargs),
            "trusted": self.trusted,
            "search_path": [str(path) for path in self.search_path],
        }


@dataclass(frozen=True, slots=True)
class Goldens:
    """Where reference inputs come from: exactly one of a function, a file, or a seed.

    `entrypoint` with `kwargs` as in Source; `file` is safetensors or Parquet; `seed` draws `cases`
    inputs, integers below `high` (input name -> exclusive bound) where one is given.
    """

    entrypoint: str | None = None
    kwargs: tuple[tuple[str, Any], ...] = ()
    file: Path | None = None
    seed: int | None = None
    cases: int | None = None
    high: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "entrypoint": self.entrypoint,
            "kwargs": dict(self.kwargs),
            "file": None if self.file is None else str(self.file),
            "seed": self.seed,
            "cases": self.cases,
            "high": dict(self.high),
        }


@dataclass(frozen=True, slots=True)
class Bound:
    """An accuracy bound: |got - want| <= atol + rtol * |want|, elementwise."""

    atol: float
    rtol: float

    def to_json(self) -> dict[str, float]:
        return {"atol": self.atol, "rtol": self.rtol}


@dataclass(frozen=True, slots=True)
class Model:
    """One model and everything asked for it. Defaults are applied, paths absolute.

    `tolerances` maps an output's name, or ANY_OUTPUT, to a bound; an output without one gets the
    compiler's table. `files` are read by the entrypoints besides their own code. `timeout` is
    seconds a step may take, `memory` bytes it may use (None: the plan estimates). `version` is a
    label for people; bundles number themselves. `replace` swaps pieces for the user's own.
    """

    name: str
    source: Source
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    targets: tuple[Target, ...]
    goldens: Goldens
    version: str | None = None
    precision: str = "fp32"
    torch_executed_modules: tuple[str, ...] = ()
    torch_executed_ops: tuple[str, ...] = ()
    require_full_compilation: bool = False
    min_nodes: int = 3
    tolerances: tuple[tuple[str, Bound], ...] = ()
    files: tuple[Path, ...] = ()
    timeout: float = 1800.0
    memory: int | None = None
    engine_profiles: Literal["separate", "shared"] = "separate"
    replace: tuple[Replacement, ...] = ()

    @property
    def symbols(self) -> frozenset[str]:
        """The dynamic dimensions' names."""
        return frozenset(symbol for profile in self.profiles for symbol in profile.symbols)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "source": self.source.to_json(),
            "inputs": [spec.to_json() for spec in self.inputs],
            "profiles": [profile.to_json() for profile in self.profiles],
            "targets": [str(target) for target in self.targets],
            "goldens": self.goldens.to_json(),
            "precision": self.precision,
            "torch_executed_modules": list(self.torch_executed_modules),
            "torch_executed_ops": list(self.torch_executed_ops),
            "require_full_compilation": self.require_full_compilation,
            "min_nodes": self.min_nodes,
            "tolerances": {name: bound.to_json() for name, bound in self.tolerances},
            "files": [str(path) for path in self.files],
            "timeout": self.timeout,
            "memory": self.memory,
            "engine_profiles": self.engine_profiles,
            "replace": [one.to_json() for one in self.replace],
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models of one request. `folder` is where its relative paths start."""

    models: tuple[Model, ...]
    folder: Path = field(default=Path(), compare=False)

    @property
    def digest(self) -> Digest:
        """Identity of the request as written: the order of models does not matter."""
        ordered = sorted(self.models, key=lambda model: model.name)
        return digest_json([model.to_json() for model in ordered])

    def model(self, name: str) -> Model:
        """The model of that name. KeyError if there is none."""
        found: Mapping[str, Model] = {model.name: model for model in self.models}
        return found[name]
