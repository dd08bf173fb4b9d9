"""A bundle's index, from what its trace and its builds made."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from enginebundle.format.digest import Digest
from enginebundle.format.index import Golden, Index
from enginebundle.format.spec import Profile, Target, TensorSpec, Tolerance, Toolchain
from enginebundle.format.structure import tree_from_json
from enginebundle.format.variant import Part, Variant
from orchestrator.plan.task import Upstream
from orchestrator.plan.task_id import TaskId
from orchestrator.worker.outcome import JSON
from orchestrator.worker.steps import of


def assemble(
    spec: Mapping[str, JSON],
    upstream: Upstream,
    attached: Mapping[str, tuple[Digest, int]] = MappingProxyType({}),
) -> Index:
    """The index of what was traced and built. FormatError if it is not consistent.

    `attached`: the blob and size of each file that goes with it.

    A target with a profile that failed has no variant: half a variant would refuse shapes that the
    manifest promises.
    """
    traced = of(upstream, "trace")
    variants: list[Variant] = []
    blobs: dict[Digest, int] = {}
    for target in spec["targets"]:
        parts = _parts(target, spec, upstream)
        if parts:
            variants.append(_variant(Target.parse(target), parts))
            for part in parts:
                blobs |= part["blobs"]
    blobs |= {golden["blob"]: golden["bytes"] for golden in traced["goldens"]}
    blobs |= dict(attached.values())
    return Index(
        name=spec["name"],
        inputs=tuple(TensorSpec.from_json(item) for item in traced["inputs"]),
        outputs=tuple(TensorSpec.from_json(item) for item in traced["outputs"]),
        profiles=tuple(Profile.from_json(item) for item in spec["profiles"]),
        goldens=tuple(Golden(golden["name"], golden["blob"]) for golden in traced["goldens"]),
        variants=tuple(variants),
        blobs=tuple(blobs.items()),
        program=traced["program"],
        labels=tuple(spec["labels"].items()),
        structure=tree_from_json(traced.get("structure")),
        between=traced.get("between", False),
        attachments=tuple((name, blob) for name, (blob, _) in attached.items()),
    )


def _parts(target: str, spec: Mapping[str, JSON], upstream: Upstream) -> list[Mapping[str, Any]]:
    """The builds of a target in the order of their profiles; empty unless they serve all profiles."""
    order = [profile["name"] for profile in spec["profiles"]]
    found = [
        output
        for task_id, output in ((TaskId.parse(name), output) for name, output in upstream.items())
        if task_id.step == "build" and str(task_id.target) == target
    ]
    found.sort(key=lambda output: order.index(output["part"]["profiles"][0]))
    served = {name for output in found for name in output["part"]["profiles"]}
    return found if served == set(order) else []


def _variant(target: Target, builds: list[Mapping[str, Any]]) -> Variant:
    first = builds[0]
    return Variant(
        target,
        Toolchain.from_json(first["toolchain"]),
        first["precision"],
        tuple((name, Tolerance.from_json(b)) for name, b in first["tolerances"].items()),
        tuple(Part.from_json(build["part"]) for build in builds),
        first.get("version_compatible", False),
    )
