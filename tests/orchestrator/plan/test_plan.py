"""A plan says what will run, what is reused, what can't be known yet and what nobody here can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from enginebundle.format.digest import digest_json
from enginebundle.format.spec import Target
from orchestrator.manifest.load import load, loads
from orchestrator.manifest.model import Manifest
from orchestrator.plan import content, keys
from orchestrator.plan.decide import Past, Plan, plan
from orchestrator.plan.task import GIB, Task
from orchestrator.plan.text import summary, table
from tests.orchestrator.examples import INSTALLED, OUTPUTS

ROOT = Path(__file__).resolve().parents[3]
TEXT = """
models:
  - name: a
    source: {entrypoint: "zoo:a"}
    inputs: {x: {dtype: float32, shape: [b]}}
    profiles: {p: {b: 1}, q: {b: 2}}
    targets: [torch:cpu, rtx:sm_89]
"""


class Results:
    """A store's results in memory; `run` fills in what a plan asks for, in order."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}

    def __call__(self, key: str) -> Mapping[str, Any] | None:
        return self.records.get(key)

    def run(self, made: Plan, *steps: str) -> None:
        outputs: dict[str, Any] = {}
        for task in made.tasks:
            if task.step in steps:
                outputs[task.id] = OUTPUTS[task.step]
                upstream = {need: outputs[need] for need in task.needs if need in outputs}
                self.records[keys.key(task, upstream)] = {"output": outputs[task.id]}


def make(
    text: str = TEXT,
    results: Callable[[str], Mapping[str, Any] | None] = lambda _: None,
    archs: Collection[str] = ("cpu",),
    current: int | None = None,
    holds: Collection[str] = (),
    elastic: bool = False,
    known: Callable[[Task, str], str] = lambda task, key: "",
) -> Plan:
    manifest: Manifest = loads(text)
    contents = {model.name: {"source": {"file": "sha256:1"}} for model in manifest.models}
    return plan(
        manifest,
        Past(
            lookup=results,
            known=known,
            current=lambda _: current,
            holds=lambda _: [Target.parse(text) for text in holds],
        ),
        INSTALLED,
        contents,
        archs=archs,
        elastic=elastic,
    )


def statuses(made: Plan) -> dict[str, str]:
    return {t.id: d.status for t, d in zip(made.tasks, made.decisions, strict=True)}


def test_a_fresh_store() -> None:
    made = make()
    assert statuses(made) == {
        "a/trace": "build",
        "a/build/torch:cpu": "unknown",
        "a/build/rtx:sm_89/p": "unknown",
        "a/build/rtx:sm_89/q": "unknown",
        "a/publish": "unknown",
        "a/validate/torch:cpu": "unknown",
        "a/promote": "unknown",
    }
    assert made.decision("a/trace").why == "no result for this key"
    assert made.decision("a/publish").key is None
    assert [str(task_id) for task_id, _ in made.pending] == ["a/validate/rtx:sm_89"]
    assert "`kiln validate a --target rtx:sm_89`" in made.pending[0][1]


def test_after_tracing_builds_are_decided_and_sized() -> None:
    results = Results()
    results.run(make(), "trace")
    made = make(results=results)
    assert made.decision("a/trace").status == "cached"
    assert made.decision("a/build/rtx:sm_89/p").status == "build"
    assert made.decision("a/build/rtx:sm_89/p").key is not None
    assert (made.decision("a/publish").status, made.decision("a/publish").why) == (
        "build",
        "a/build/torch:cpu will run",
    )
    memory = {task.id: task.resources.memory for task in made.tasks}
    assert memory["a/trace"] == 4 * GIB
    assert memory["a/build/rtx:sm_89/p"] == GIB + 5 * OUTPUTS["trace"]["weights_bytes"]
    own = make(TEXT + "    memory: 3GiB\n", results)
    assert {t.resources.memory for t in own.tasks if t.step == "build"} == {3 * GIB}


def test_everything_done_is_cached_to_the_alias() -> None:
    results = Results()
    results.run(make(), "trace", "build", "publish", "validate")
    made = make(results=results, current=1)
    assert set(statuses(made).values()) == {"cached"}
    assert made.decision("a/promote").why == "a:latest is already version 1"
    moved = make(results=results, current=2)
    assert moved.decision("a/promote").status == "build"
    assert moved.decision("a/promote").why == "a:latest moves to version 1"


@pytest.mark.parametrize(
    ("unkeyed", "said"),
    [
        ((), "same inputs, same result"),
        (("subprocess /bin/cat",), "same inputs, same result; unkeyed: subprocess /bin/cat"),
        (("the network",), "same inputs, same result; unkeyed: the network"),
        (("socket server", "the whole environment"),
         "same inputs, same result; unkeyed: socket server, the whole environment"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", ["trace", "build"])
def test_what_no_record_shows_of_a_cached_step_is_named(
    step: str, unkeyed: tuple[str, ...], said: str
) -> None:
    results = Results()
    results.run(make(), "trace", "build")
    told = {f"a/{step}", f"a/{step}/torch:cpu"}
    for task in make(results=results).tasks:
        if task.id in told:
            upstream = {need: OUTPUTS[need.split("/")[1]] for need in task.needs}
            record = results.records[keys.key(task, upstream)]
            results.records[keys.key(task, upstream)] = record | {
                "provenance": {"unkeyed": unkeyed}
            }
    made = make(results=results)
    whys = {task.id: one.why for task, one in zip(made.tasks, made.decisions, strict=True)}
    cached = {name for name, status in statuses(made).items() if status == "cached"}
    assert {whys[name] for name in cached & told} == {said}
    assert {whys[name] for name in cached - told} == {"same inputs, same result"}


def test_a_failed_validation_holds_the_alias() -> None:
    results = Results()
    results.run(make(), "trace", "build", "publish", "validate")
    for record in results.records.values():
        if "passed" in record["output"]:
            record["output"] = record["output"] | {"passed": False}
    made = make(results=results).decision("a/promote")
    assert (made.status, made.why) == (
        "blocked",
        "a/validate/torch:cpu failed, so a:latest does not move",
    )


def test_one_changed_option_rebuilds_only_what_it_touches() -> None:
    results = Results()
    results.run(make(), "trace", "build", "publish", "validate")
    made = make(TEXT.replace("torch:cpu, rtx:sm_89", "torch:cpu, rtx:sm_89, rtx:sm_120"), results)
    assert statuses(made) == {
        "a/trace": "cached",
        "a/build/torch:cpu": "cached",
        "a/build/rtx:sm_89/p": "cached",
        "a/build/rtx:sm_89/q": "cached",
        "a/build/rtx:sm_120/p": "build",
        "a/build/rtx:sm_120/q": "build",
        "a/publish": "build",
        "a/validate/torch:cpu": "build",
        "a/promote": "build",
    }


REFIT = TEXT.replace("torch:cpu, rtx:sm_89", "rtx:sm_89, trt:sm_90") + "    refit: true\n"


def test_a_fine_tuned_model_is_planned_as_a_refit() -> None:
    results = Results()
    base = make(REFIT, results, ("cpu", "sm_90"))
    assert base.decision("a/build/trt:sm_90/p").status == "unknown"
    results.run(base, "trace")
    assert make(REFIT, results, ("cpu", "sm_90")).decision("a/build/trt:sm_90/p").status == "build"
    tuned = OUTPUTS["trace"] | {"program": "sha256:q", "weights": "sha256:v"}
    for task in base.tasks:  # what the first model's builds leave
        own = keys.engines_identity(task.spec, {"a/trace": OUTPUTS["trace"]})
        if own is not None:
            results.records[digest_json(own)] = {"output": {}}
    trace = next(task for task in base.tasks if task.step == "trace")
    results.records[keys.key(trace, {})] = {"output": tuned}
    made = make(REFIT, results, ("cpu", "sm_90"))
    assert statuses(made) == {
        "a/trace": "cached",
        "a/build/rtx:sm_89/p": "build",
        "a/build/rtx:sm_89/q": "build",
        "a/build/trt:sm_90/p": "refit",
        "a/build/trt:sm_90/q": "refit",
        "a/publish": "build",
        "a/validate/trt:sm_90": "build",
        "a/promote": "build",
    }
    assert made.decision("a/build/rtx:sm_89/p").why.endswith("; refit is for trt targets only")
    assert "2 refit" in summary(made)
    assert make(REFIT, results).decision("a/build/trt:sm_90/p").status == "blocked"
    other = {"output": tuned | {"skeleton": "sha256:another graph"}}
    results.records[keys.key(trace, {})] = other
    assert make(REFIT, results, ("cpu", "sm_90")).counts()["build"] >= 4


def test_a_refit_is_in_question_until_the_graph_is_known() -> None:
    made = make(REFIT, archs=("cpu", "sm_90"))
    assert made.decision("a/build/trt:sm_90/p").why == "build or refit: not known before a/trace"
    assert not made.decision("a/build/rtx:sm_89/p").why.startswith("build or refit")


def test_engines_with_plugins_are_never_a_refit() -> None:
    text, results, archs = REFIT + '    plugins: ["mine:register"]\n', Results(), ("cpu", "sm_90")
    made = make(text, results, archs)
    assert made.decision("a/build/trt:sm_90/p").why == "not known before a/trace"
    results.run(made, "trace")
    made = make(text, results, archs)
    assert made.decision("a/build/trt:sm_90/p").status == "build"
    upstream = {"a/trace": OUTPUTS["trace"]}
    assert all(keys.engines_identity(task.spec, upstream) is None for task in made.tasks)


def test_a_target_of_the_pool_is_validated_there() -> None:
    made = make(archs=("cpu", "sm_89"))
    task = next(t for t in made.tasks if t.id == "a/validate/rtx:sm_89")
    assert (task.resources.gpus, task.resources.label) == (("sm_89",), "sm_89")
    assert set(task.needs) == {"a/build/rtx:sm_89/p", "a/build/rtx:sm_89/q", "a/publish"}
    assert made.pending == ()
    group = make(TEXT.replace("rtx:sm_89", "rtx:sm_86+sm_89"), archs=("sm_89",))
    task = next(t for t in group.tasks if t.id == "a/validate/rtx:sm_86+sm_89")
    assert task.resources.label == "in(sm_86,sm_89)"


def test_tensorrt_without_its_gpu_is_said_at_plan_time() -> None:
    text = TEXT.replace("rtx:sm_89", "trt:sm_90")
    made = make(text)
    decision = made.decision("a/build/trt:sm_90/p")
    assert (decision.status, decision.why) == (
        "blocked",
        "TensorRT builds on a GPU of the target, and no machine here has sm_90: add one with "
        "the node label farm/sm=sm_90",
    )
    assert made.decision("a/publish").status == "unknown"  # torch:cpu is published
    assert made.decision("a/promote").status == "unknown"  # and needs no GPU to be served
    other = make(TEXT.replace("rtx:sm_89", "trt:sm_89")).decision("a/build/trt:sm_89/p")
    assert other.why.endswith("farm/sm=sm_89, or ask for rtx:sm_89, which builds anywhere")
    assert make(text, archs=("sm_90",)).decision("a/build/trt:sm_90/p").status == "unknown"
    alone = make(TEXT.replace("torch:cpu, rtx:sm_89", "trt:sm_90"))
    assert statuses(alone) == {
        "a/trace": "build",
        "a/build/trt:sm_90/p": "blocked",
        "a/build/trt:sm_90/q": "blocked",
        "a/publish": "blocked",
        "a/promote": "blocked",
    }


def test_an_alias_keeps_a_target_that_is_blocked_now() -> None:
    text = TEXT.replace("rtx:sm_89", "trt:sm_90")
    kept = make(text, current=3, holds=("torch:cpu", "trt:sm_90")).decision("a/promote")
    assert kept.status == "blocked"
    assert kept.why.startswith("a:latest stays where it is: that version has trt:sm_90, which no")
    for holds in (("torch:cpu",), ("torch:cpu", "trt:sm_80")):
        assert make(text, current=3, holds=holds).decision("a/promote").status == "unknown"


def test_an_elastic_farm_waits_for_machines_and_blocks_nothing() -> None:
    made = make(TEXT.replace("rtx:sm_89", "trt:sm_90"), elastic=True)
    assert made.decision("a/build/trt:sm_90/p").status == "unknown"


@pytest.mark.parametrize("target", ["rtx:sm_89", "trt:sm_90", "trt:ampere_plus"])
def test_an_elastic_farm_asks_for_gpus_to_validate_on(target: str) -> None:
    """With pools that start at no node, nothing would ever be validated otherwise."""
    text = TEXT.replace("rtx:sm_89", target)
    assert f"a/validate/{target}" not in statuses(make(text))
    made = make(text, elastic=True)
    (task,) = (t for t in made.tasks if t.id == f"a/validate/{target}")
    assert task.resources.gpus == Target.parse(target).archs
    assert f"a/validate/{target}" in made.tasks[-1].needs
    assert made.pending == ()


def test_what_failed_before_is_planned_to_fail_and_stops_only_what_needs_it() -> None:
    results = Results()
    results.run(make(), "trace")

    def known(task: Task, key: str) -> str:
        return "builder: no tactic" if "rtx" in task.id else ""

    made = make(results=results, known=known)
    assert statuses(made) == {
        "a/trace": "cached",
        "a/build/torch:cpu": "build",
        "a/build/rtx:sm_89/p": "failed",
        "a/build/rtx:sm_89/q": "failed",
        "a/publish": "build",
        "a/validate/torch:cpu": "build",
        "a/promote": "failed",
    }
    assert made.decision("a/build/rtx:sm_89/p").why == "builder: no tactic"
    assert made.decision("a/promote").why == "a/build/rtx:sm_89/p failed before"
    assert "failed before" in table(made)
    made = make(results=results, known=lambda task, key: "no" if task.step == "build" else "")
    assert statuses(made)["a/publish"] == "failed"


def test_an_engine_that_was_built_elsewhere_is_reused_without_its_gpu() -> None:
    results = Results()
    text = TEXT.replace("rtx:sm_89", "trt:sm_90")
    results.run(make(text, archs=("sm_90",)), "trace", "build", "publish", "validate")
    assert make(text, results).decision("a/build/trt:sm_90/p").status == "cached"


def test_shared_engines_and_torch_take_all_profiles() -> None:
    made = make(TEXT + "    engine_profiles: shared\n")
    builds = {
        t.id: [p["name"] for p in t.spec["profiles"]] for t in made.tasks if t.step == "build"
    }
    assert builds == {"a/build/torch:cpu": ["p", "q"], "a/build/rtx:sm_89": ["p", "q"]}


def test_tasks_stand_after_their_needs_and_specs_are_json() -> None:
    made = make(TEXT + TEXT.replace("models:\n", "").replace("name: a", "name: b"))
    seen: set[str] = set()
    for task in made.tasks:
        assert set(task.needs) <= seen
        assert set(task.optional) <= set(task.needs)
        seen.add(task.id)
    assert len(seen) == len(made.tasks) == 14
    again = json.loads(json.dumps(made.to_json()))
    assert again["counts"] == {"build": 1, "shared": 1, "unknown": 12}
    assert {"id", "step", "spec", "needs", "resources", "status", "why", "key"} <= set(
        again["tasks"][0]
    )


def test_the_table() -> None:
    lines = table(make()).splitlines()
    assert lines[0].split() == ["TASK", "STATUS", "WHY"]
    assert lines[1].split(maxsplit=2) == ["a/trace", "build", "no result for this key"]
    assert "unknown until traced" in lines[2]
    assert lines[-1] == (
        "7 tasks of 1 model: 1 build, 6 unknown until traced; 1 validation pending"
    )
    assert summary(make()) == lines[-1]


def test_planning_the_quickstart_imports_nothing_heavy() -> None:
    """In a fresh process: manifest, file digests, installation, plan and table."""
    program = """
import sys
from orchestrator.manifest.load import load
from orchestrator.plan import content, decide, text
from orchestrator.plan.installed import installed
manifest = load("manifests/quickstart.yaml")
made = decide.plan(manifest, decide.Past(), installed(), content.contents(manifest))
text.table(made)
heavy = {"torch", "ray", "tensorrt", "tensorrt_rtx", "transformers", "numpy", "pyarrow", "timm"}
print(len(made.tasks), sorted(heavy & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


@pytest.mark.parametrize("name", ["quickstart", "transformers", "generation"])
def test_planning_is_a_pure_function_of_what_it_is_given(name: str) -> None:
    manifest = load(ROOT / "manifests" / f"{name}.yaml")
    contents = content.contents(manifest)
    once = plan(manifest, Past(), INSTALLED, contents)
    assert plan(manifest, Past(), INSTALLED, contents) == once


def test_two_names_of_one_model_are_one_task_of_each_key() -> None:
    twins = TEXT + TEXT.replace("\nmodels:\n", "").replace("name: a", "name: b")
    made = make(twins)
    assert made.decision("a/trace").status == "build"
    assert (made.decision("b/trace").status, made.decision("b/trace").why) == (
        "shared", "a/trace has the same key, and makes it",
    )  # fmt: skip
    results = Results()
    results.run(make(TEXT), "trace")
    made = make(twins, results)
    for role in ("build/torch:cpu", "build/rtx:sm_89/p", "build/rtx:sm_89/q"):
        assert made.decision(f"a/{role}").status == "build"
        assert made.decision(f"b/{role}").status == "shared"
        assert made.decision(f"a/{role}").key == made.decision(f"b/{role}").key
    assert made.decision("b/publish").status == "build", "it has the name in its key"
    fresh = [d.key for d in made.decisions if d.status == "build" and d.key]
    assert len(fresh) == len(set(fresh))
    assert "3 shared" in summary(made)
