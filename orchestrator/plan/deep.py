"""`kiln plan --deep`: trace and partition each model, build nothing, and show what would run where.

It imports and runs the user's code, as `kiln run` would, in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enginebundle.format.spec import Target
from orchestrator.manifest.model import Manifest, Model

if TYPE_CHECKING:
    from compiler.partition import PartitionReport
    from compiler.pipeline import Traced
    from compiler.replace.replacement import Replaced


@dataclass(frozen=True)
class DeepPlan:
    """How one model would be partitioned for targets that share a partition, or why it can't be."""

    model: str
    targets: tuple[Target, ...]
    report: PartitionReport | None = None
    replaced: tuple[Replaced, ...] = ()
    unchecked: tuple[str, ...] = ()
    refused: str = ""

    def text(self) -> str:
        """For people: the report and what was replaced or left out, or the refusal with its remedy."""
        head = f"{self.model} for {', '.join(map(str, self.targets))}"
        if self.report is None:
            return f"{head}: {self.refused}"
        lines = [f"{head}: {self.report.text()}"]
        for one in self.replaced:
            places = f" at {', '.join(one.places)}" if one.places else ""
            lines.append(f"replaced {one.replacement} by {one.replacement.by}{places}")
        lines += [f"no engine makes this check: {place}" for place in self.unchecked]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "targets": [str(target) for target in self.targets],
            "report": None if self.report is None else self.report.to_json(),
            "replaced": [one.to_json() for one in self.replaced],
            "unchecked": list(self.unchecked),
            "refused": self.refused or None,
        }


def deep_plan(manifest: Manifest, names: Sequence[str] = ()) -> tuple[DeepPlan, ...]:
    """Each model of the manifest, or those named, for each backend of its targets.

    No goldens are made, so numbers are not checked. Raises KeyError for a name that is not in the
    manifest; a refusal by the compiler is in `DeepPlan.refused`.
    """
    models = [manifest.model(name) for name in names] or list(manifest.models)
    return tuple(one for model in models for one in _plan(model))


def _plan(model: Model) -> list[DeepPlan]:
    from compiler.refused import Refused

    try:
        traced = _trace(model)
    except Refused as refused:
        return [DeepPlan(model.name, model.targets, refused=str(refused))]
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
            ValueError) as error:  # fmt: skip
        # A fault of the compiler's must not cost the user the plans of all other models.
        told = f"the compiler failed: {type(error).__name__}: {error}; please report it"
        return [DeepPlan(model.name, model.targets, refused=told)]
    planned = []
    for targets in _alike(model):
        try:
            report = _partition(model, traced, targets[0])
        except Refused as refused:
            planned.append(DeepPlan(model.name, targets, refused=str(refused)))
        else:
            planned.append(DeepPlan(model.name, targets, report, traced.replaced, traced.unchecked))
    return planned


def _alike(model: Model) -> list[tuple[Target, ...]]:
    """The targets, grouped by backend: a partition does not depend on the architecture."""
    backends = list(dict.fromkeys(target.backend for target in model.targets))
    return [tuple(t for t in model.targets if t.backend == backend) for backend in backends]


def _trace(model: Model) -> Traced:
    from compiler.pipeline import TraceRequest, trace_model

    request = TraceRequest(
        model.source,
        model.inputs,
        model.profiles,
        None,
        model.precision,
        model.replace,
    )
    return trace_model(request)


def _partition(model: Model, traced: Traced, target: Target) -> PartitionReport:
    """What runs where on the target, if every plugin is there for a `trt` target."""
    from compiler.pipeline import BuildRequest, convert_program

    plain = None if target.backend == "trt" else traced.plain
    ways = ("converter", "plugin") if plain is None else ("converter",)
    request = BuildRequest(
        target=target,
        profiles=model.profiles,
        precision=model.precision,
        torch_executed_modules=model.torch_executed_modules,
        torch_executed_ops=model.torch_executed_ops,
        require_full_compilation=model.require_full_compilation,
        min_nodes=model.min_nodes,
        replace=tuple(one for one in model.replace if one.way in ways),
        search_path=model.source.search_path,
    )
    return convert_program(traced.program if plain is None else plain, request).parts.report
