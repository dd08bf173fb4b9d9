"""No wrong reuse, no needless rebuild: what is and what is not in a task's Key."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.replace.replacement import Replacement
from enginebundle.format.digest import digest_json
from enginebundle.format.spec import Profile, Range, Target, TensorSpec, Tolerance, Toolchain
from orchestrator.manifest.model import Model
from orchestrator.plan import keys
from orchestrator.plan.inputs.lists import with_inputs
from orchestrator.plan.installed import Installed, distributions
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.plan.tasks import tasks
from tests.orchestrator.examples import CONTENT, INPUTS, INSTALLED, MODEL, OUTPUTS, TRACED


def upstream_of(task: Task) -> dict[str, Any]:
    return {need: OUTPUTS[TaskId.parse(need).step] for need in task.needs}


def keys_of(
    model: Model, content: dict[str, Any] = CONTENT, installed: Installed = INSTALLED
) -> dict[str, str]:
    """Key by role, the outputs upstream held fixed: what a change does directly."""
    made = tasks(model, content, installed, ("cpu", "sm_89"))
    return {task.task_id.role: keys.key(task, upstream_of(task)) for task in made}


def changed(a: dict[str, str], b: dict[str, str]) -> set[str]:
    """The steps of which some task has another key, or is new."""
    roles = {role for role in a.keys() | b.keys() if a.get(role) != b.get(role)}
    return {role.split("/")[0] for role in roles} - {"promote"}


TRACE, BUILD, PUBLISH, NOTHING = {"trace"}, {"build"}, {"publish"}, set()

MUTATIONS: dict[str, tuple[Any, set[str]]] = {
    "name": ("n", {"publish", "validate"}),
    "version": ("2", PUBLISH),
    "source": (replace(MODEL.source, kwargs=(("depth", 3),)), TRACE),
    "inputs": ((TensorSpec("x", "float16", ("b", 3)),), TRACE),
    "profiles": (
        (Profile("p", (("b", Range(1, 2, 5)),)),),
        {"trace", "build", "publish", "validate"},
    ),
    "targets": ((Target.parse("rtx:sm_86"),), {"build", "publish", "validate"}),
    "goldens": (replace(MODEL.goldens, seed=1), TRACE),
    "precision": ("fp16", {"trace", "build"}),
    "torch_executed_modules": (("encoder",), BUILD),
    "torch_executed_ops": (("aten.relu.default",), BUILD),
    "require_full_compilation": (True, BUILD),
    "min_nodes": (4, BUILD),
    "tolerances": ((("*", Tolerance(1.0, 0.0)),), BUILD),
    "files": ((Path("/a/vocab.txt"),), NOTHING),  # a path; its digest is in the content
    "timeout": (1.0, NOTHING),
    "memory": (1, NOTHING),
    "replace": (
        (Replacement("operator", "aten.relu.default", "converter", "m:relu"),),
        {"trace", "build", "publish"},
    ),
    "plugins": (("m:register",), NOTHING),  # no trt: target here
    "engine_profiles": ("shared", {"build", "publish", "validate"}),
    "effort": ("max", NOTHING),  # no trt: target here
    "version_compatible": (True, NOTHING),  # no trt: target here
    "refit": (True, NOTHING),  # trt targets only
    "allow_torch": (True, NOTHING),  # a permission
    "operators": (("mylib::scale",), {"build", "validate"}),  # that segments in torch may call
    "attachments": ((("labels.txt", Path("/a/labels.txt")),), NOTHING),  # a path, as for files
    "unrecorded": ("allow", TRACE),  # what was refused before may be read now
}
"""Field of Model -> another value, and the steps whose key it must change, and no others."""


def test_every_field_of_a_model_is_decided_on() -> None:
    assert MUTATIONS.keys() == {field.name for field in fields(Model)}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_field_changes_the_keys_it_must_and_no_others(name: str) -> None:
    value, steps = MUTATIONS[name]
    assert changed(keys_of(MODEL), keys_of(replace(MODEL, **{name: value}))) == steps


def test_refit_changes_the_builds_of_trt_targets() -> None:
    model = replace(MODEL, targets=(Target.parse("trt:sm_90"),))
    assert changed(keys_of(model), keys_of(replace(model, refit=True))) == BUILD


PARTS: dict[str, dict[str, tuple[Any, set[str]]]] = {
    "source": {
        "entrypoint": ("zoo:n", TRACE),
        "program": ("/a/x.pt2", NOTHING),
        "kwargs": ((), TRACE),
        "trusted": (True, NOTHING),
        "search_path": (("/b",), NOTHING),
    },
    "goldens": {
        "entrypoint": ("zoo:g", TRACE),
        "kwargs": ((("n", 1),), TRACE),
        "file": ("/a/x.safetensors", NOTHING),
        "seed": (2, TRACE),
        "cases": (4, TRACE),
        "high": ((("x", 6),), TRACE),
    },
}


@pytest.mark.parametrize(("part", "name"), [(p, n) for p, named in PARTS.items() for n in named])
def test_so_does_each_field_of_source_and_goldens(part: str, name: str) -> None:
    given_part = getattr(MODEL, part)
    assert PARTS[part].keys() == {field.name for field in fields(given_part)}
    value, steps = PARTS[part][name]
    mutated = replace(MODEL, **{part: replace(given_part, **{name: value})})
    assert changed(keys_of(MODEL), keys_of(mutated)) == steps


@pytest.mark.parametrize(
    ("versions", "steps"),
    [
        ({"torch": "2.14.0"}, {"build", "validate"}),  # what a trace imports is in its inputs
        ({"numpy": "2.5.0"}, {"build", "validate"}),
        ({"tensorrt-rtx-cu13": "1.6"}, {"build", "validate"}),
        ({"tensorrt-cu13": "11.5"}, NOTHING),  # no trt: target here
        ({"safetensors": "0.7"}, {"trace", "build", "validate"}),  # writes the weights down
        ({"transformers": "5.1"}, NOTHING),
        ({"rich": "15"}, NOTHING),
    ],
    ids=lambda part: ",".join(sorted(part)),  # a set's own text differs between processes
)
def test_a_distribution_changes_what_it_can_reach(
    versions: dict[str, str], steps: set[str]
) -> None:
    other = Toolchain(tuple((INSTALLED.distributions.to_json() | versions).items()))
    assert (
        changed(keys_of(MODEL), keys_of(MODEL, installed=replace(INSTALLED, distributions=other)))
        == steps
    )


def test_tensorrt_rtx_does_not_touch_the_cpu_nor_tensorrt() -> None:
    other = Toolchain(
        tuple((INSTALLED.distributions.to_json() | {"tensorrt-rtx-cu13": "9"}).items())
    )
    model = replace(MODEL, targets=(Target.parse("torch:cpu"), Target.parse("trt:sm_89")))
    before, after = (
        keys_of(model),
        keys_of(model, installed=replace(INSTALLED, distributions=other)),
    )
    assert changed(before, after) == NOTHING


def test_an_effort_counts_for_tensorrt_alone() -> None:
    model = replace(MODEL, targets=(*MODEL.targets, Target.parse("trt:sm_89")))
    before, after = keys_of(model), keys_of(replace(model, effort="fast"))
    roles = {role for role in before if before[role] != after[role]}
    assert roles == {"build/trt:sm_89/p", "build/trt:sm_89/q"}


def test_tensorrt_s_version_is_in_its_builds_keys_however_it_was_installed() -> None:
    model = replace(MODEL, targets=(Target.parse("trt:sm_89"),))
    before = keys_of(model, installed=replace(INSTALLED, runtimes=(("tensorrt", "10.6.0"),)))
    after = keys_of(model, installed=replace(INSTALLED, runtimes=(("tensorrt", "10.7.0"),)))
    assert changed(before, after) == {"build", "validate"}


def test_what_an_engine_opens_on_is_in_its_key() -> None:
    def keys(target: str, compatible: bool = False) -> set[str]:
        model = replace(MODEL, targets=(Target.parse(target),), version_compatible=compatible)
        return {key for name, key in keys_of(model).items() if name.startswith("build/")}

    exact = keys("trt:sm_90")
    for other in (keys("trt:sm_90_any"), keys("trt:ampere_plus"), keys("trt:sm_90", True)):
        assert not exact & other
    assert keys("rtx:sm_89") == keys("rtx:sm_89", True)


@pytest.mark.parametrize(
    ("field", "value", "steps"),
    [
        ("python", "3.12.0", {"trace", "build", "validate"}),
        ("platform", "linux-aarch64", {"build", "validate"}),
        ("compiler", "sha256:x", {"trace", "build", "validate"}),
        ("enginebundle", "sha256:x", {"trace", "build", "publish", "validate"}),
        ("orchestrator", "sha256:x", PUBLISH),
    ],
)
def test_the_rest_of_the_installation(field: str, value: str, steps: set[str]) -> None:
    if field in dict(INSTALLED.packages):
        packages = dict(INSTALLED.packages) | {field: value}
        other = replace(INSTALLED, packages=tuple(packages.items()))
    else:
        other = replace(INSTALLED, **{field: value})
    assert changed(keys_of(MODEL), keys_of(MODEL, installed=other)) == steps


def test_files_that_the_manifest_names_count_wherever_its_code_runs() -> None:
    content = copy.deepcopy(CONTENT)
    content["files"]["vocab.txt"] = "sha256:other"
    own = {"trace", "build"}  # MODEL has a converter
    assert changed(keys_of(MODEL), keys_of(MODEL, content)) == own
    plain = replace(MODEL, replace=())
    assert changed(keys_of(plain), keys_of(plain, content)) == TRACE
    assert changed(keys_of(TRT), keys_of(TRT, content)) == {"trace", "build", "validate"}


def test_steps_that_run_the_users_code_are_recorded() -> None:
    for model in (MODEL, replace(MODEL, replace=()), TRT, replace(TRT, replace=())):
        made = tasks(model, CONTENT, INSTALLED, ("cpu", "sm_89"))
        recorded = {task.task_id.role for task in made if keys.records(task.step, task.spec)}
        builds = {task.task_id.role for task in made if task.step == "build"}
        own = {role for role in builds if model.replace or (model.plugins and "/trt:" in role)}
        plugins = {"validate/trt:sm_89"} if model.plugins else set()
        assert recorded == {"trace"} | own | plugins


def test_every_input_counts_whether_it_changes_comes_or_goes() -> None:
    trace = keys.identity(MADE[0], {})

    def key_of(inputs: dict[str, Any]) -> str:
        return digest_json(with_inputs(trace, digest_json(inputs)))

    base = key_of(INPUTS)
    seen = {base, digest_json(trace)}
    for path in leaves(INPUTS):
        gone = copy.deepcopy(INPUTS)
        place = gone
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        seen |= {key_of(mutated(INPUTS, path))}
        seen |= {key_of(gone)}
    assert len(seen) == 2 + 2 * len(list(leaves(INPUTS)))
    again = json.loads(json.dumps(dict(reversed(INPUTS.items()))))
    assert key_of(again) == base


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    if not items:
        yield path
    for name, item in items:
        yield from leaves(item, (*path, name))


def mutated(value: Any, path: tuple[str | int, ...]) -> Any:
    result = copy.deepcopy(value)
    place = result
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = {"was": place[path[-1]]}
    return result


TRT = replace(
    MODEL,
    targets=(*MODEL.targets, Target.parse("trt:sm_89")),
    plugins=("zoo:register",),
    allow_torch=True,
)
MADE = tasks(TRT, CONTENT, INSTALLED, ("cpu", "sm_89"))


@pytest.mark.parametrize("task", MADE, ids=lambda task: task.task_id.role)
def test_every_leaf_of_spec_and_upstream_counts_unless_excluded(task: Task) -> None:
    upstream = upstream_of(task)
    base = keys.key(task, upstream)
    for path in leaves(task.spec):
        now = keys.key(replace(task, spec=mutated(task.spec, path)), upstream)
        assert (now == base) == excluded(task, "spec", path), path
    for need in task.needs:
        for path in leaves(upstream[need]):
            now = keys.key(task, upstream | {need: mutated(upstream[need], path)})
            assert (now == base) == excluded(task, "upstream", (TaskId.parse(need).role, *path)), (
                path
            )


def excluded(task: Task, where: str, path: tuple[str | int, ...]) -> bool:
    text = ".".join(str(step) for step in (task.step, where, *path))
    return any(text == name or text.startswith(f"{name}.") for name in keys.EXCLUDED)


OTHER_RESOURCES: dict[str, Any] = {
    "cpus": 9.0,
    "memory": 9,
    "timeout": 9.0,
    "gpus": ("sm_75",),
    "guess": False,
}


@pytest.mark.parametrize("task", MADE, ids=lambda task: task.task_id.role)
def test_every_other_field_of_a_task_is_excluded_by_name(task: Task) -> None:
    outside = {name for name in keys.EXCLUDED if name.split(".")[0] not in OUTPUTS}
    named = {field.name for field in fields(Task)} - {"task_id", "spec", "resources"}
    named |= {f"task_id.{field.name}" for field in fields(TaskId)} - {"task_id.step"}
    assert outside == named | {f"resources.{field.name}" for field in fields(Resources)}
    assert OTHER_RESOURCES.keys() == {field.name for field in fields(Resources)}
    base = keys.identity(task, upstream_of(task))
    assert set(base) == {"format", "step", "spec", "upstream"}
    other = replace(
        task,
        task_id=TaskId("other", task.step),
        optional=(),
        blockable=(),
        resources=replace(task.resources, **OTHER_RESOURCES),
    )
    assert keys.identity(other, upstream_of(task)) == base


def test_every_exclusion_has_a_reason_and_something_to_exclude() -> None:
    for table in (keys.EXCLUDED, keys.NEVER_IN):
        assert all(len(reason) > 10 for reason in table.values())
    present = set()
    for task in MADE:
        if keys.cacheable(task):
            upstream = {TaskId.parse(need).role: upstream_of(task)[need] for need in task.needs}
            for path in leaves({"spec": task.spec, "upstream": upstream}):
                text = ".".join(str(step) for step in (task.step, *path))
                present |= {n for n in keys.EXCLUDED if text == n or text.startswith(f"{n}.")}
    assert present == {name for name in keys.EXCLUDED if name.split(".")[0] in OUTPUTS}


def test_module_names_count_where_the_build_reads_them() -> None:
    """torch_executed_modules looks at where nodes came from, which only the graph document says."""
    for modules, same in (((), True), (("encoder",), False)):
        made = tasks(replace(MODEL, torch_executed_modules=modules), CONTENT, INSTALLED, ())
        build = next(task for task in made if task.step == "build")
        upstream = upstream_of(build)
        moved = {"m/trace": TRACED | {"graph": "sha256:other lines"}}
        assert (keys.key(build, upstream) == keys.key(build, moved)) is same


def test_models_of_different_names_share_traces_and_builds() -> None:
    a, b = keys_of(MODEL), keys_of(replace(MODEL, name="other", timeout=5.0))
    assert {role for role in a if a[role] == b[role]} >= {
        "trace",
        "build/torch:cpu",
        "build/rtx:sm_89/p",
        "build/rtx:sm_89/q",
    }


def test_no_two_tasks_of_a_model_share_a_key() -> None:
    found = keys_of(MODEL)
    assert len(set(found.values())) == len(found)


def test_a_missing_need_is_an_error_unless_it_may_fail() -> None:
    publish = next(task for task in MADE if task.step == "publish")
    whole = upstream_of(publish)
    with pytest.raises(KeyError, match="m/publish needs the output of m/trace"):
        keys.identity(publish, {})
    partial = {need: whole[need] for need in whole if "sm_89" not in need}
    assert keys.key(publish, partial) != keys.key(publish, whole)


def test_a_copy_is_plain_json_and_shares_nothing() -> None:
    inner = {"b": [1, "x"]}
    value: dict[str, Any] = {
        "a": [inner, None, 2.5],
        "c": ({"d": None}, ["e"]),
        "f": MappingProxyType({"g": [MappingProxyType({"h": (1, True)})]}),
        "i": "text",
    }
    plain = {
        "a": [{"b": [1, "x"]}, None, 2.5],
        "c": [{"d": None}, ["e"]],
        "f": {"g": [{"h": [1, True]}]},
        "i": "text",
    }
    copied = keys._copied(value)
    assert copied == plain
    assert json.loads(json.dumps(copied)) == plain, "no mapping of another kind is left"
    inner["b"].append(3)
    value["c"][0]["d"] = 4
    value["c"][1].append("more")
    assert copied == plain


def test_identities_do_not_share_structure_with_their_inputs() -> None:
    task = MADE[0]
    before = digest_json(task.spec)
    found = keys.identity(task, {})["spec"]
    found["source"]["kwargs"]["depth"] = 99
    found["inputs"].append("another")
    assert digest_json(task.spec) == before


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_given_does_not_matter(rng: random.Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            return {name: shuffled(item) for name, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    for task in MADE:
        upstream = upstream_of(task)
        again = replace(task, spec=shuffled(task.spec))
        assert keys.key(again, shuffled(upstream)) == keys.key(task, upstream)


def test_what_setuptools_brings_for_itself_is_in_no_key(tmp_path, monkeypatch):
    def found(folder: Path) -> Mapping[str, str]:
        info = folder / "stray-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stray\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(folder)
        distributions.cache_clear()
        return distributions()

    assert "stray" not in found(tmp_path / "setuptools" / "_vendor")
    assert "stray" in found(tmp_path / "site-packages")
    monkeypatch.undo()
    distributions.cache_clear()


def refitted(**spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    model = replace(MODEL, targets=(Target.parse("trt:sm_90"),), refit=True)
    build = next(task for task in tasks(model, CONTENT, INSTALLED, ()) if task.step == "build")
    upstream = {
        "m/trace": TRACED | {"skeleton": "sha256:skeleton"},
        "m/publish": {"skeleton": "no"},
    }
    return {**build.spec, **spec}, upstream


def test_models_that_differ_in_replaceable_weights_share_their_engines() -> None:
    spec, upstream = refitted()
    shared = keys.engines_identity(spec, upstream)
    assert shared is not None
    assert shared["skeleton"] == "sha256:skeleton"
    assert (shared["step"], shared["format"]) == ("engines", keys.FORMAT)
    other = {"m2/trace": {"program": "sha256:another", "skeleton": "sha256:skeleton"}}
    assert keys.engines_identity(spec, other) == shared
    for name, value in (("tolerances", {"*": [1, 1]}), ("search_path", ["/elsewhere"])):
        assert keys.engines_identity({**spec, name: value}, upstream) == shared
    left_out = {"tolerances", "search_path"}
    for name in spec.keys() - left_out - {"refit", "plugins"}:
        moved = keys.engines_identity({**spec, name: {"was": spec[name]}}, upstream)
        assert moved != shared, name
    assert keys.engines_identity(spec, {"m/trace": {"skeleton": "sha256:another"}}) != shared
    assert keys.engines_identity(spec, {"m/trace": {}}) == {**shared, "skeleton": None}


def test_what_is_not_refitted_holds_plugins_or_has_no_trace_shares_none() -> None:
    spec, upstream = refitted()
    assert keys.engines_identity({**spec, "refit": False}, upstream) is None
    assert keys.engines_identity({**spec, "plugins": {"m:register": {}}}, upstream) is None
    assert keys.engines_identity(spec, {}) is None
    assert keys.engines_identity(spec, {"m/publish": {"skeleton": "x"}}) is None
    without = {name: value for name, value in spec.items() if name not in ("refit", "plugins")}
    assert keys.engines_identity(without, upstream) is None


def test_only_moving_an_alias_is_done_every_time() -> None:
    assert {task.step for task in MADE if not keys.cacheable(task)} == {"promote"}


def test_an_identity_is_the_task_and_what_its_needs_made_by_role() -> None:
    build = next(task for task in MADE if task.step == "build")
    found = keys.identity(build, upstream_of(build))
    assert (found["format"], found["step"]) == (keys.FORMAT, "build")
    assert set(found["upstream"]) == {TaskId.parse(need).role for need in build.needs}
    assert keys.key(build, upstream_of(build)) == digest_json(found)
    found["upstream"]["trace"].clear()
    assert upstream_of(build)["m/trace"], "a copy"
