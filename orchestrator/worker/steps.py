"""The steps that run in child processes: JSON and a store in, JSON out. What is big is a blob.

    trace      {graph, weights, program, inputs, outputs, goldens, replaced, unchecked,
                weights_bytes}
    build      {part, toolchain, precision, tolerances, report, bytes, evaluated, blobs}
    validate   {passed, worst, evidence}

`publish` and `promote` are in publish.py: they sign and move names, which only the driver may do.
The compiler is imported inside the steps, so that whoever plans or watches needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from compiler.replace.replacement import Replacement
from enginebundle.format.digest import Digest, canonical_json
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.storage.store import Store
from orchestrator.worker.outcome import JSON

if TYPE_CHECKING:
    from compiler.goldens.goldens import GoldenCase
    from compiler.pipeline import BuiltSegment
    from enginebundle.format.index import Segment

Spec = Mapping[str, JSON]
Upstream = Mapping[str, Mapping[str, JSON]]


def run_step(step: str, spec: Spec, upstream: Upstream, store: str) -> dict[str, JSON]:
    """What `isolate` calls: open the store and run the step of that name."""
    return STEPS[step](spec, upstream, Store.open(store))


def of(upstream: Upstream, step: str) -> Mapping[str, JSON]:
    """The output of the one task of that step among those upstream. KeyError if there is none."""
    for name, output in upstream.items():
        if name.split("/")[1] == step:
            return output
    raise KeyError(f"no {step} among {', '.join(upstream) or 'nothing'}")


def trace(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Run the user's code once: its model as a Program, and the goldens."""
    from compiler import program
    from compiler.goldens.goldens import GoldenSource
    from compiler.pipeline import TraceRequest, trace_model
    from compiler.trace.source import Source

    goldens = {"search_path": spec["source"]["search_path"], **spec["goldens"]}
    job = TraceRequest(
        Source.from_json(spec["source"]),
        tuple(TensorSpec.from_json(item) for item in spec["inputs"]),
        tuple(Profile.from_json(item) for item in spec["profiles"]),
        GoldenSource.from_json(goldens),
        spec["precision"],
        _replacements(spec),
    )
    traced = trace_model(job)
    graph, weights = program.save(traced.program, store)
    return {
        "graph": graph,
        "weights": weights,
        "weights_bytes": sum(t.numel() * t.element_size() for t in traced.program.weights.values()),
        "program": traced.program.digest,
        "inputs": [item.to_json() for item in traced.program.graph.inputs],
        "outputs": [item.to_json() for item in traced.program.graph.outputs],
        "goldens": [_save_golden(case, store) for case in traced.goldens],
        "replaced": [one.to_json() for one in traced.replaced],
        "unchecked": list(traced.unchecked),
    }


def _replacements(spec: Spec) -> tuple[Replacement, ...]:
    return tuple(Replacement.from_json(item) for item in spec.get("replace", ()))


def _save_golden(case: GoldenCase, store: Store) -> dict[str, JSON]:
    data = case.to_bytes()
    return {"name": case.name, "blob": store.put_blob(data), "bytes": len(data)}


def build(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Turn a Program into one Part of a target's variant."""
    from compiler import program
    from compiler.build.engine_cache import EngineCache
    from compiler.goldens.goldens import GoldenCase
    from compiler.pipeline import BuildRequest, build_program
    from enginebundle.format.index import Part, Tolerance

    traced = of(upstream, "trace")
    loaded = program.load(store, traced["graph"], traced["weights"])
    goldens = tuple(
        GoldenCase.from_bytes(golden["name"], store.read_blob(golden["blob"]))
        for golden in traced["goldens"]
    )
    overrides = {name: Tolerance(b["atol"], b["rtol"]) for name, b in spec["tolerances"].items()}
    job = BuildRequest(
        target=Target.parse(spec["target"]),
        profiles=tuple(Profile.from_json(item) for item in spec["profiles"]),
        precision=spec["precision"],
        torch_executed_modules=tuple(spec["torch_executed_modules"]),
        torch_executed_ops=tuple(spec["torch_executed_ops"]),
        require_full_compilation=spec["require_full_compilation"],
        min_nodes=spec["min_nodes"],
        tolerance=tuple(overrides.items()),
        replace=_replacements(spec),
        search_path=tuple(spec.get("search_path", ())),
    )
    built = build_program(loaded, job, goldens, EngineCache(store))
    blobs: dict[Digest, int] = {}
    names = tuple(profile.name for profile in job.profiles)
    part = Part(
        names,
        tuple(_save_segment(segment, names, store, blobs) for segment in built.segments),
        built.returns,
    )
    return {
        "part": part.to_json(),
        "toolchain": built.toolchain.to_json(),
        "precision": job.precision,
        "tolerances": {name: bound.to_json() for name, bound in built.tolerances},
        "report": store.put_blob(canonical_json(built.report)),
        "bytes": sum(blobs.values()),
        "evaluated": None if built.evaluated is None else built.evaluated.to_json(),
        "blobs": blobs,
    }


def _save_segment(
    segment: BuiltSegment, profiles: tuple[str, ...], store: Store, blobs: dict[Digest, int]
) -> Segment:
    from compiler.program import weights_to_bytes
    from enginebundle.format.index import Segment

    def put(data: bytes | memoryview) -> Digest:
        digest = store.put_blob(data)
        blobs[digest] = len(data)
        return digest

    weights = None
    if segment.engine is not None:
        blob = put(segment.engine)
    else:
        blob = put(canonical_json(segment.graph.to_json(origins=False)))
        weights = put(weights_to_bytes(segment.weights or {}))
        profiles = ()
    return Segment(segment.kind, blob, weights, segment.inputs, segment.outputs, profiles)


def validate(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Prove a variant: open it with the loader that ships and reproduce every golden.

    Runs in a process of its own, on a machine of the target. The evidence comes back unsigned.
    """
    from orchestrator.worker.proof import prove

    index = of(upstream, "publish")["index"]
    reference = f"{spec['name']}@{index}"
    evidence = prove(store, reference, Target.parse(spec["target"]), spec["trust"])
    return {
        "passed": evidence.passed,
        "worst": evidence.worst,
        "evidence": store.put_blob(evidence.to_bytes()),
    }


STEPS: Mapping[str, Callable[[Spec, Upstream, Store], dict[str, Any]]] = {
    "trace": trace,
    "build": build,
    "validate": validate,
}
