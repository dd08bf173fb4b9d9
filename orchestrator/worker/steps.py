"""The steps that run in child processes: JSON and a store in, JSON out. Anything big is a blob.

    trace      {graph, weights, program, skeleton, inputs, outputs, goldens, replaced, unchecked, rung,
                structure, between, weights_bytes, plain {graph, weights, program} (if a plugin computes an operator)}
    build      {part, toolchain, precision, version_compatible, tolerances, report, bytes,
                evaluated, blobs, provenance: {engines}}, and for a refittable model {refitted}
    validate   {passed, worst, evidence}

`publish` and `promote` are in run/publish.py: they sign and move aliases, which only the driver may
do. The steps import the compiler when they run, so that planning and watching need no torch.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compiler.goldens.source import GoldenSource
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.digest import Digest, canonical_json, digest_json
from enginebundle.format.spec import Profile, Target, TensorSpec
from enginebundle.format.structure import tree_to_json
from enginebundle.serve.validate import validate as validate_variant
from enginebundle.storage.store import Store
from enginebundle.storage.trust import Trust
from orchestrator.plan.keys import engines_identity
from orchestrator.plan.task import Upstream
from orchestrator.plan.task_id import Step, TaskId
from orchestrator.worker.lent import opened
from orchestrator.worker.outcome import APART, BESIDE, JSON
from orchestrator.worker.progress import teller
from orchestrator.worker.recording.window import window as recorded

if TYPE_CHECKING:
    from compiler.goldens.goldens import GoldenCase
    from compiler.pipeline import BuildRequest, BuiltSegment
    from compiler.program import Program
    from enginebundle.format.variant import Segment

Spec = Mapping[str, JSON]


def run_step(step: str, spec: Spec, upstream: Upstream, store: str) -> dict[str, JSON]:
    """Open the store and run the step of that name. Called by `isolate`."""
    # The collector would look again and again through what is imported, and that stays: a sixth of the time. The
    # compiler pauses it anyway, and a session's calls leave nothing for it.
    gc.disable()
    return STEPS[step](spec, upstream, opened(store))


def of(upstream: Upstream, step: Step) -> Mapping[str, JSON]:
    """The output of the upstream task of that step. KeyError if there is none."""
    for name, output in upstream.items():
        if TaskId.parse(name).step == step:
            return output
    raise KeyError(f"no {step} among {', '.join(upstream) or 'nothing'}")


def trace(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Run the user's code once, and save its model as a Program, and the goldens."""
    with recorded():
        from compiler import program
        from compiler.pipeline import TraceRequest, trace_model

        request = TraceRequest(
            Source.from_json(spec["source"]),
            tuple(TensorSpec.from_json(item) for item in spec["inputs"]),
            tuple(Profile.from_json(item) for item in spec["profiles"]),
            GoldenSource.from_json(spec["goldens"]),
            spec["precision"],
            _replacements(spec),
        )
        traced = trace_model(request)
    graph, weights = program.save(traced.program, store)
    more = {}
    if traced.plain is not None:
        own, tensors = program.save(traced.plain, store)
        more["plain"] = {"graph": own, "weights": tensors, "program": traced.plain.digest}
    return {
        "graph": graph,
        "weights": weights,
        "weights_bytes": sum(t.numel() * t.element_size() for t in traced.program.weights.values()),
        "program": traced.program.digest,
        "skeleton": program.skeleton(traced.program.graph),
        "inputs": [item.to_json() for item in traced.program.graph.inputs],
        "outputs": [item.to_json() for item in traced.program.graph.outputs],
        "goldens": [_save_golden(case, store) for case in traced.goldens],
        "replaced": [one.to_json() for one in traced.replaced],
        "unchecked": list(traced.unchecked),
        "rung": traced.rung,
        "structure": tree_to_json(traced.structure),
        "between": traced.between,
    } | more


def _replacements(spec: Spec) -> tuple[Replacement, ...]:
    return tuple(Replacement.from_json(item) for item in spec.get("replace", ()))


def _save_golden(case: GoldenCase, store: Store) -> dict[str, JSON]:
    data = case.to_bytes()
    return {"name": case.name, "blob": store.put_blob(data), "bytes": len(data)}


def traced_program(upstream: Upstream, store: Store) -> Program:
    """The program that the upstream trace left in the store."""
    from compiler import program

    traced = of(upstream, "trace")
    return program.load(store, traced["graph"], traced["weights"])


def plain_program(upstream: Upstream, store: Store) -> Program | None:
    """The same without plugins; None if the program has none."""
    from compiler import program

    plain = of(upstream, "trace").get("plain")
    return None if plain is None else program.load(store, plain["graph"], plain["weights"])


def build_request(spec: Spec) -> BuildRequest:
    """What a build's spec asks of the compiler."""
    from compiler.build.effort import DEFAULT
    from compiler.pipeline import BuildRequest
    from enginebundle.format.spec import Tolerance
    from enginebundle.runtimes.operators import full_name

    plugins = spec.get("plugins", {})
    overrides = {name: Tolerance.from_json(one) for name, one in spec["tolerances"].items()}
    return BuildRequest(
        target=Target.parse(spec["target"]),
        profiles=tuple(Profile.from_json(item) for item in spec["profiles"]),
        precision=spec["precision"],
        torch_executed_modules=tuple(spec["torch_executed_modules"]),
        torch_executed_ops=tuple(spec["torch_executed_ops"]),
        require_full_compilation=spec["require_full_compilation"],
        min_nodes=spec["min_nodes"],
        tolerance=tuple(overrides.items()),
        replace=_replacements(spec),
        search_path=tuple(spec.get("search_path", plugins.get("search_path", ()))),
        plugins=tuple(plugins.get("entrypoints", ())),
        operators=tuple(map(full_name, spec.get("operators", ()))),
        effort=spec.get("effort", DEFAULT),
        version_compatible=spec.get("version_compatible", False),
        refit=spec.get("refit", False),
    )


def build(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Build one Part of a target's variant from a Program. The user's own converters run, if it has any.

    With APART in the spec, engines are built in another process, and what it dies of goes to torch.
    """
    with recorded():
        return _build(spec, upstream, store)


def _build(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    from compiler.build.aids import Aids
    from compiler.build.apart import Apart
    from compiler.build.engine_cache import EngineCache
    from compiler.goldens.goldens import GoldenCase
    from compiler.pipeline import build_program
    from enginebundle.format.fallback import Fallback
    from enginebundle.format.variant import Part

    loaded = traced_program(upstream, store)
    goldens = tuple(
        GoldenCase.from_bytes(golden["name"], store.read_blob(golden["blob"]))
        for golden in of(upstream, "trace")["goldens"]
    )
    request = build_request(spec)
    built = build_program(
        loaded, request, goldens, EngineCache(store),
        Aids(store, teller(), apart=Apart() if spec.get(APART) else None),
        plain=plain_program(upstream, store),
    )  # fmt: skip
    blobs: dict[Digest, int] = {}
    names = tuple(profile.name for profile in request.profiles)
    put = _writer(store, blobs)
    # Something stays in torch that was meant for engines.
    fell_back = request.target.backend != "torch" and built.report["torch_nodes"] > 0
    part = Part(
        names,
        tuple(_save_segment(segment, names, put) for segment in built.segments),
        built.returns,
        Fallback.of_report(built.report) if fell_back else None,
    )
    refitted = _refitted(built.segments, spec, upstream, store) if request.refit else {}
    return refitted | {
        "part": part.to_json(),
        "toolchain": built.toolchain.to_json(),
        "precision": request.precision,
        "version_compatible": request.version_compatible,
        "tolerances": {name: one.to_json() for name, one in built.tolerances},
        "report": store.put_blob(canonical_json(built.report)),
        "bytes": sum(blobs.values()),
        "evaluated": None if built.evaluated is None else built.evaluated.to_json(),
        "blobs": blobs,
        BESIDE: {"engines": [dict(s.notes) for s in built.segments if s.engine is not None]},
    }


Put = Callable[[bytes | memoryview | Mapping[str, Any]], Digest]


def _writer(store: Store, blobs: dict[Digest, int]) -> Put:
    """Puts bytes or tensors by name into the store, and notes the sizes. Equal tensors are written once."""
    from compiler.program import weights_to_bytes

    written: dict[int, Digest] = {}

    def put(data: bytes | memoryview | Mapping[str, Any]) -> Digest:
        if id(data) in written:
            return written[id(data)]
        content = weights_to_bytes(data) if isinstance(data, Mapping) else data
        digest = store.put_blob(content)
        blobs[digest] = len(content)
        if isinstance(data, Mapping):
            written[id(data)] = digest
        return digest

    return put


def _save_segment(segment: BuiltSegment, profiles: tuple[str, ...], put: Put) -> Segment:
    from enginebundle.format.variant import Segment

    if segment.engine is None:
        blob = put(canonical_json(segment.graph.to_json(origins=False)))
        weights = put(segment.weights or {})
        return Segment(
            segment.kind, blob, weights, segment.inputs, segment.outputs, (),
            operators=segment.operators,
        )  # fmt: skip
    return Segment(
        segment.kind,
        put(segment.engine),
        None if segment.weights is None else put(segment.weights),
        segment.inputs,
        segment.outputs,
        profiles,
        put(segment.constants) if segment.constants else None,
        segment.plugins,
    )


def _refitted(
    segments: Sequence[BuiltSegment], spec: Spec, upstream: Upstream, store: Store
) -> dict[str, JSON]:
    """Whether all engines of a refittable model were built before; notes for plans that they exist."""
    own = engines_identity(spec, upstream)
    if own is not None:
        key = digest_json(own)
        store.put_result(key, {"key": key, "identity": own, "output": {}})
    engines = [segment for segment in segments if segment.engine is not None]
    return {"refitted": bool(engines) and all(segment.reused for segment in engines)}


def validate(spec: Spec, upstream: Upstream, store: Store) -> dict[str, JSON]:
    """Validate a variant: open it with the loader that users have, and reproduce every golden.

    Runs in its own process, on a machine of the target. The evidence is returned unsigned.
    """
    index = of(upstream, "publish")["index"]
    version, trust = store.resolve(f"{spec['name']}@{index}"), _trust(spec["trust"])
    target = Target.parse(spec["target"])
    store.check_evidence(version)
    operators = tuple(spec.get("operators", ()))
    if plugins := spec.get("plugins"):
        with recorded():
            from compiler.build.plugins import register_plugins

            register_plugins(plugins["entrypoints"], tuple(plugins["search_path"]))
            evidence = validate_variant(store, version, target, trust, operators)
    else:
        evidence = validate_variant(store, version, target, trust, operators)
    return {
        "passed": evidence.passed,
        "worst": evidence.worst,
        "evidence": store.put_blob(evidence.to_bytes()),
    }


def _trust(given: Sequence[str]) -> Trust:
    """This machine's trusted keys, and the ones `given` as base64."""
    keys = Trust.of(*(base64.b64decode(key, validate=True) for key in given)).keys
    return Trust.default().adding(keys)


STEPS: Mapping[str, Callable[[Spec, Upstream, Store], dict[str, Any]]] = {
    "trace": trace,
    "build": build,
    "validate": validate,
}
