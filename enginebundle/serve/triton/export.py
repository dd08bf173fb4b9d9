"""A bundle as models of a Triton model repository.

A `trt:` variant that is one engine becomes a plan for Triton's own TensorRT backend, and an ensemble that gives its
outputs the bundle's names. Everything else becomes a model for the Python backend, with the exported bundle beside it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from enginebundle.errors import NoVariantError, StoreError
from enginebundle.format.spec import Target
from enginebundle.format.variant import Segment
from enginebundle.serve.bundle import Bundle
from enginebundle.serve.export import export
from enginebundle.serve.session import Session
from enginebundle.serve.triton import config
from enginebundle.serve.triton.config import Batching
from enginebundle.serve.triton.model import SOURCE
from enginebundle.serve.triton.rows import rows_apart


@dataclass(frozen=True, slots=True)
class TritonModels:
    """What was written. `plan` says which backend runs it; `notes` say why, and what a server needs."""

    names: tuple[str, ...]
    plan: bool
    most: int
    """Rows of a batch; 0 if requests are not put together."""
    notes: tuple[str, ...]


def export_triton(
    bundle: Bundle, repository: Path, target: Target, *, allow_pending: bool = False
) -> TritonModels:
    """Add a variant to a model repository, which is made if need be: models NAME, and NAME_plan for a plan.

    The version there is the bundle's. NotFoundError for a target that the bundle lacks, NoVariantError for one that
    is not validated (pending ones may be allowed), StoreError if the repository has such a model, FormatError if
    Triton lacks a dtype.
    """
    variant, name = bundle.variant(target), bundle.version.name
    state = bundle.verdicts[target].state
    if state != "validated" and not (allow_pending and state == "pending"):
        raise NoVariantError(f"{bundle.version} {target} is {state}; Triton would serve it unasked")
    plan = config.plan_of(bundle.index, variant)
    symbol, notes = _batched(bundle)
    batching = (
        None if symbol is None else config.batching(bundle.index, symbol, isinstance(plan, str))
    )
    names = (name,) if isinstance(plan, str) else (f"{name}_plan", name)
    for one in names:
        if (repository / one).exists():
            raise StoreError(
                f"{repository / one} already exists; remove it, or name another folder"
            )
    try:
        repository.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".kiln-", dir=repository))
    except OSError as error:
        raise StoreError(f"export to {repository}: {error}") from error
    try:
        if isinstance(plan, str):
            _python(bundle, staging, target, batching)
            notes += (
                f"Python backend, since {plan}: its Python needs enginebundle and a trusted key",
            )
        else:
            _plan(bundle, staging, target, plan, batching)
            toolchain = dict(variant.toolchain.versions)
            notes += (f"TensorRT backend: the server needs TensorRT {toolchain.get('tensorrt')}",)
        for one in names:
            os.rename(staging / one, repository / one)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    most = 0 if batching is None else batching.most
    return TritonModels(names, not isinstance(plan, str), most, notes)


def _batched(bundle: Bundle) -> tuple[str | None, tuple[str, ...]]:
    """The symbol of the batch, if requests may be put together; else why not."""
    symbol = config.batch_symbol(bundle.index)
    if symbol is None:
        return None, ("no batching: not every tensor has the same first dimension, and it alone",)
    torch_variant = next((v for v in bundle.index.variants if v.target.backend == "torch"), None)
    if torch_variant is None:
        return None, ("no batching: only a torch:cpu variant could show that rows are apart",)
    with Session(bundle, torch_variant) as session:
        apart = rows_apart(session, bundle, torch_variant)
    if apart:
        return symbol, ()
    why = "a row's answer depends on others" if apart is False else "no golden has rows to compare"
    return None, (f"no batching: {why}",)


def _python(bundle: Bundle, staging: Path, target: Target, batching: Batching | None) -> None:
    name, version = bundle.version.name, str(bundle.version.number)
    folder = staging / name / version
    folder.mkdir(parents=True)
    text = config.python_config(name, bundle.index, bundle.variant(target), batching)
    (staging / name / "config.pbtxt").write_text(text)
    (folder / "model.py").write_text(SOURCE)
    export(bundle, folder / "bundle", [target])


def _plan(
    bundle: Bundle, staging: Path, target: Target, plan: Segment, batching: Batching | None
) -> None:
    name, version = bundle.version.name, str(bundle.version.number)
    inner = f"{name}_plan"
    for one in (name, inner):
        (staging / one / version).mkdir(parents=True)
    (staging / inner / version / "model.plan").write_bytes(bundle.read(plan.blob))
    (staging / inner / "config.pbtxt").write_text(config.plan_config(inner, plan, batching))
    text = config.ensemble_config(name, inner, bundle.index, bundle.variant(target), batching)
    (staging / name / "config.pbtxt").write_text(text)
