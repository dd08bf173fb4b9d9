"""What a user asks for, as frozen values: models x targets x profiles.

`manifest.load` reads them from YAML. Nothing here touches files, torch or pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from compiler.build.effort import DEFAULT as DEFAULT_EFFORT
from compiler.goldens.source import GoldenSource
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.digest import Digest, digest_json
from enginebundle.format.spec import Profile, Target, TensorSpec, Tolerance

MIN_NODES = 3
"""An engine segment of fewer nodes runs in torch, unless the manifest says otherwise."""
TIMEOUT = 1800.0
"""Seconds that a step may take, unless the manifest says otherwise."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model and everything asked for it. Defaults are applied, paths absolute.

    `tolerances` maps an output's name, or ANY_OUTPUT, to a tolerance; any other output gets the one
    in the compiler's table. `files` are what the entrypoints read besides their own code. `timeout` is
    the seconds that a step may take, `memory` the bytes it may use (None: the plan estimates them).
    `version` is a label for people; bundles have numbers. `replace` swaps pieces of the model for
    the user's own. `plugins` are entrypoints that register TensorRT plugins where `trt:` engines are
    built and validated. `effort` is how much work TensorRT puts into the engines of trt targets; with
    `version_compatible` later versions of TensorRT open those, too; with `refit` they hold no weights.
    `unrecorded` says what happens if the model's code reads what no record shows.
    """

    name: str
    source: Source
    inputs: tuple[TensorSpec, ...]
    profiles: tuple[Profile, ...]
    targets: tuple[Target, ...]
    goldens: GoldenSource
    version: str | None = None
    precision: str = "fp32"
    torch_executed_modules: tuple[str, ...] = ()
    torch_executed_ops: tuple[str, ...] = ()
    require_full_compilation: bool = False
    min_nodes: int = MIN_NODES
    tolerances: tuple[tuple[str, Tolerance], ...] = ()
    files: tuple[Path, ...] = ()
    timeout: float = TIMEOUT
    memory: int | None = None
    engine_profiles: Literal["separate", "shared"] = "separate"
    replace: tuple[Replacement, ...] = ()
    plugins: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    """What torch segments may call besides the operators that every bundle may call."""
    attachments: tuple[tuple[str, Path], ...] = ()
    """Files and folders that the bundle gets, by the names that they have there."""
    effort: str = DEFAULT_EFFORT
    version_compatible: bool = False
    refit: bool = False
    allow_torch: bool = False
    unrecorded: Literal["refuse", "allow"] = "refuse"

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
            "tolerances": {name: one.to_json() for name, one in self.tolerances},
            "files": [str(path) for path in self.files],
            "timeout": self.timeout,
            "memory": self.memory,
            "engine_profiles": self.engine_profiles,
            "replace": [one.to_json() for one in self.replace],
            "plugins": list(self.plugins),
            "operators": list(self.operators),
            "attachments": {name: str(path) for name, path in self.attachments},
            "effort": self.effort,
            "version_compatible": self.version_compatible,
            "refit": self.refit,
            "allow_torch": self.allow_torch,
            "unrecorded": self.unrecorded,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """All models of one request. `folder` is where its relative paths start."""

    models: tuple[Model, ...]
    folder: Path = field(default=Path(), compare=False)

    @property
    def digest(self) -> Digest:
        """Identifies the request as written, whatever the order of its models."""
        ordered = sorted(self.models, key=lambda model: model.name)
        return digest_json([model.to_json() for model in ordered])

    def model(self, name: str) -> Model:
        """The model of that name. KeyError if there is none."""
        found: Mapping[str, Model] = {model.name: model for model in self.models}
        return found[name]
