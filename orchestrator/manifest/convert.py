"""Converts a checked form to the frozen values that everything else works on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compiler.goldens.source import GoldenSource
from compiler.trace.source import Source
from enginebundle.format.spec import DEFAULT_PROFILE, Profile, TensorSpec
from orchestrator.manifest.model import Model
from orchestrator.manifest.schema import ModelForm


def convert(form: ModelForm, folder: Path) -> Model:
    """The model that a form describes. `folder` is where its relative paths start."""
    source = Source(
        entrypoint=form.source.entrypoint,
        program=_path(folder, form.source.program),
        kwargs=_sorted(form.source.kwargs),
        trusted=form.source.trusted,
        search_path=(str(folder),),
    )
    inputs = tuple(
        TensorSpec(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in form.inputs.items()
    )
    profiles = tuple(Profile(name, tuple(r.items())) for name, r in form.profiles.items())
    return Model(
        name=form.name,
        source=source,
        inputs=inputs,
        # A model without symbols has one profile, which gives no ranges.
        profiles=profiles or (Profile(DEFAULT_PROFILE, ()),),
        targets=tuple(form.targets),
        goldens=_goldens(form, folder),
        version=form.version,
        precision=form.precision,
        torch_executed_modules=tuple(sorted(set(form.torch_executed_modules))),
        torch_executed_ops=tuple(sorted(set(form.torch_executed_ops))),
        require_full_compilation=form.require_full_compilation,
        min_nodes=form.min_nodes,
        tolerances=form.tolerance,
        files=tuple(sorted(folder / name for name in form.files)),
        timeout=form.timeout,
        memory=form.memory,
        engine_profiles=form.engine_profiles,
        replace=tuple(form.replace),
        effort=form.effort,
        version_compatible=form.version_compatible,
        refit=form.refit,
        allow_torch=form.allow_torch,
        plugins=tuple(form.plugins),
        operators=tuple(form.operators),
        attachments=tuple((name, folder / path) for name, path in sorted(form.attachments.items())),
        unrecorded=form.unrecorded,
    )


def _goldens(form: ModelForm, folder: Path) -> GoldenSource:
    given = form.goldens
    if given.entrypoint is not None:
        return GoldenSource(entrypoint=given.entrypoint, kwargs=_sorted(given.kwargs))
    if given.file is not None:
        return GoldenSource(file=_path(folder, given.file))
    high = {name: t.high for name, t in form.inputs.items() if t.high is not None}
    return GoldenSource(seed=given.seed or 0, cases=given.cases, high=tuple(sorted(high.items())))


def _path(folder: Path, text: str | None) -> str | None:
    return None if text is None else str(folder / text)


def _sorted(kwargs: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(kwargs.items()))
