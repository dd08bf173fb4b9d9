"""The run's loop on a virtual clock with every mishap, then on real child processes."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from enginebundle.format.digest import digest_json
from enginebundle.format.spec import Target
from enginebundle.storage.store import Store
from orchestrator.plan.inputs.lists import Finder
from orchestrator.plan.task import Resources, Task
from orchestrator.plan.task_id import TaskId
from orchestrator.run.drive import Farm, drive
from orchestrator.run.executor import LocalExecutor, serves
from orchestrator.run.taskgraph import Pool
from orchestrator.worker.attempt import Attempt, log_path, perform
from orchestrator.worker.outcome import Blocked, Built, Cached, Failed, Skipped, kind
from tests.orchestrator.virtual_executor import Mishaps, VirtualExecutor

BUILDERS = str(Path(__file__).parents[1] / "builders")
ANY = Resources(1.0, 1 << 30, 60.0)
CALM = Mishaps()
GPU = Resources(1.0, 1 << 30, 60.0, ("sm_90",))


def model(name, builds=6, gpu=False):
    """A model's tasks in the shape that plans have."""
    target = Target.parse("rtx:sm_90" if gpu else "torch:cpu")
    trace = Task(TaskId(name, "trace"), {"n": name}, (), ANY)
    made = [
        Task(TaskId(name, "build", target, f"p{n}"), {"n": n}, (trace.id,), ANY)
        for n in range(builds)
    ]
    ids = tuple(task.id for task in made)
    publish = Task(TaskId(name, "publish"), {}, (trace.id, *ids), ANY, optional=ids)
    validate = Task(TaskId(name, "validate", target), {}, (publish.id,), GPU if gpu else ANY)
    needs = (publish.id, *ids, validate.id)
    return [
        trace,
        *made,
        publish,
        validate,
        Task(TaskId(name, "promote"), {}, needs, ANY),
    ]


class Memory:
    """Results in a dictionary."""

    def __init__(self):
        self.records = {}

    def result(self, key):
        return self.records.get(key)

    def put(self, attempt, output):
        self.records[attempt.key] = {"output": output, "provenance": {"seconds": 1.0}}


def identify(task, upstream):
    return None if task.step == "promote" else {"id": task.id, "upstream": dict(upstream)}


def attempt(task, identity, upstream, number, store="none", **more):
    return Attempt(
        task.id, number, "r1", task.step, task.spec, upstream, identity, store,
        task.resources.cpus, task.resources.memory, task.resources.timeout,
        task.resources.label, "again", **more,
    )  # fmt: skip


def virtual(memory, executors, mishaps=CALM, seed=0):
    def publish(task, upstream):
        memory.records[digest_json(identify(task, upstream))] = {
            "output": {"version": 1}, "provenance": {"seconds": 0.0},
        }  # fmt: skip
        return Built({"version": 1}, 0.0)

    def executor():
        pools = {None: Pool("any", 64), "sm_90": Pool("sm_90", 4)}
        seconds = {"trace": 20.0, "build": 300.0, "validate": 10.0}
        executors.append(
            VirtualExecutor(pools, lambda attempt: seconds[attempt.step], memory.put, mishaps, seed)
        )
        return executors[-1]

    return Farm(
        lambda task, identity: memory.result(digest_json(identity)),
        identify,
        attempt,
        executor,
        lambda task, upstream: task,
        {"publish": publish, "promote": lambda task, upstream: Cached({})},
        lambda task, upstream, outcome: outcome,
    )


def fleet(models):
    return list(itertools.chain(*(model(f"m{n}", gpu=n % 3 == 0) for n in range(models))))


def test_ten_thousand_tasks_with_mishaps_all_end():
    tasks, memory, executors = fleet(1000), Memory(), []
    assert len(tasks) == 10_000
    transitions = []
    farm = virtual(memory, executors, Mishaps(0.05, 0.02, 0.05))
    farm = Farm(**{**vars(farm), "listen": transitions.append})
    outcomes, interrupted = drive(tasks, farm)
    assert not interrupted
    assert outcomes.keys() == {task.id for task in tasks}
    kinds = Counter(map(kind, outcomes.values()))
    assert kinds["built"] > 8000
    assert executors[0].now > 6000 * 300 * 0.9 / 64
    ended = [t.task for t in transitions if t.state not in ("started", "retry")]
    assert len(ended) == len(set(ended)) == len(tasks)
    assert {o.code for o in outcomes.values() if isinstance(o, Failed)} <= {"infra", "crashed"}


def test_the_same_seed_gives_the_same_run():
    runs = []
    for _ in range(2):
        executors = []
        drive(fleet(30), virtual(Memory(), executors, Mishaps(0.1, 0.1, 0.1), seed=7))
        runs.append((executors[0].started, executors[0].now))
    assert runs[0] == runs[1]


def test_a_second_run_starts_no_executor_at_all():
    memory, executors = Memory(), []
    drive(fleet(20), virtual(memory, executors))
    outcomes, _ = drive(fleet(20), virtual(memory, executors))
    assert len(executors) == 1
    assert set(map(kind, outcomes.values())) == {"cached"}


@pytest.mark.parametrize("after", [0, 1, 57, 150])
def test_an_interrupted_run_ends_every_task_and_the_next_repeats_none(after):
    memory, executors = Memory(), []
    farm = virtual(memory, executors)
    seen = itertools.count()

    def listen(transition):
        if transition.state == "built" and next(seen) == after:
            raise KeyboardInterrupt

    outcomes, interrupted = drive(fleet(20), Farm(**{**vars(farm), "listen": listen}))
    assert interrupted
    assert len(outcomes) == 200
    assert {o.code for o in outcomes.values() if isinstance(o, Failed)} <= {"cancelled"}
    finished = dict(memory.records)
    again, _ = drive(fleet(20), virtual(memory, executors))
    assert set(map(kind, again.values())) <= {"built", "cached"}
    assert finished.keys() <= memory.records.keys()
    first, second = (set(executor.started) for executor in executors)
    in_flight = {name for name, o in outcomes.items() if isinstance(o, Failed)}
    recorded = {name for name, o in outcomes.items() if isinstance(o, Built | Cached)}
    assert not {name for name, _ in second} & recorded
    assert {name for name, _ in first & second} <= in_flight


def test_one_failing_build_leaves_the_others_and_stops_the_promotion():
    memory, executors = Memory(), []
    farm = virtual(memory, executors)

    def finish(task, upstream, outcome):
        return Failed("accuracy", "off") if task.id == "m1/validate/torch:cpu" else outcome

    outcomes, _ = drive(fleet(3), Farm(**{**vars(farm), "finish": finish}))
    assert outcomes["m1/promote"] == Skipped("m1/validate/torch:cpu")
    assert outcomes["m2/promote"] == Cached({})
    assert sum(isinstance(o, Failed) for o in outcomes.values()) == 1


class NoGpu(VirtualExecutor):
    """A farm without the pool sm_90."""

    def pools(self, labels):
        absent = Pool("sm_90", 0, absent="no node has sm_90")
        return {label: absent if label else Pool("any", 64) for label in labels}


def tensorrt(model):
    """The model's builds on a GPU of sm_90 too, as `trt:` targets are built; no validation there."""
    trace, *builds, publish, validate, promote = model
    target = Target.parse("trt:sm_90")
    gpu = Task(TaskId(trace.model, "build", target, "p"), {}, (trace.id,), GPU)
    ids = (*(task.id for task in builds), gpu.id)
    publish = replace(publish, needs=(trace.id, *ids), optional=ids)
    promote = replace(promote, needs=(publish.id, validate.id, *ids), blockable=ids)
    return [trace, *builds, gpu, publish, validate, promote]


def test_builds_without_a_machine_are_blocked_and_everything_else_is_done():
    memory, tasks = Memory(), tensorrt(model("m0", 2))
    farm = virtual(memory, [])
    made = NoGpu({}, lambda attempt: 1.0, memory.put)
    outcomes, _ = drive(tasks, replace(farm, executor=lambda: made))
    assert outcomes.pop("m0/build/trt:sm_90/p") == Blocked("no node has sm_90")
    assert set(map(kind, outcomes.values())) == {"built", "cached"}
    assert not any("trt" in name for name, _ in made.started)


def test_a_result_from_elsewhere_needs_no_machine_even_if_its_key_is_known_only_now():
    memory, executors, tasks = Memory(), [], tensorrt(model("m0", 2))
    drive(tasks, virtual(memory, executors))
    for record in list(memory.records):
        if memory.records[record]["output"] == {"made": "m0/trace"}:
            del memory.records[record]  # so that the build's key is unknown until it runs again
    made = NoGpu({}, lambda attempt: 1.0, memory.put)
    outcomes, _ = drive(tasks, replace(virtual(memory, []), executor=lambda: made))
    assert [name for name, _ in made.started] == ["m0/trace"]
    assert kind(outcomes["m0/build/trt:sm_90/p"]) == "cached"


def test_a_farm_without_any_machine_has_failed():
    class Nothing(VirtualExecutor):
        def pools(self, labels):
            return {label: Pool(label or "any", 0, absent="no CPU") for label in labels}

    made = Nothing({}, lambda attempt: 1.0, Memory().put)
    outcomes, _ = drive(
        tensorrt(model("m0", 2)), replace(virtual(Memory(), []), executor=lambda: made)
    )
    assert outcomes["m0/trace"] == Failed("no-machine", "no CPU")
    assert outcomes["m0/build/trt:sm_90/p"] == Skipped("m0/trace")


def test_labels():
    assert serves("sm_90", ("sm_90",))
    assert serves("in(sm_80,sm_90)", ("sm_90",))
    assert not serves("in(sm_80,sm_90)", ("sm_9", "sm_89"))


def test_what_the_plan_found_is_not_looked_up_unless_it_may_not_stand():
    tasks, memory, looked = fleet(2), Memory(), []
    plain = virtual(memory, [])
    done, _ = drive(tasks, plain)
    found = {
        name: {"output": one.output, "provenance": {"seconds": 1.0}, "key": "k"}
        for name, one in done.items() if not name.endswith(("promote", "m1/trace"))
    }  # fmt: skip

    def find(task, identity):
        looked.append(task.id)
        return plain.find(task, identity)

    farm = Farm(**{**vars(plain), "find": find, "found": found})
    again, _ = drive(tasks, farm)
    assert set(map(kind, again.values())) == {"cached"}
    assert again["m0/trace"] == Cached(done["m0/trace"].output, 1.0, "k")
    assert looked == ["m1/trace"]
    looked.clear()
    (name,) = [t.id for t in tasks if t.model == "m0" and t.id.endswith("/p0")]

    def refuse(task, upstream, outcome):
        return Failed("no-engine", "none") if task.id == name else outcome

    again, _ = drive(tasks, Farm(**{**vars(farm), "finish": refuse}))
    assert again[name] == Failed("no-engine", "none")
    behind = {"m0/publish", "m0/validate/rtx:sm_90"}  # their inputs are others now
    assert set(looked) == {"m1/trace", name, *behind}


# Real processes from here on.


def real(store, executor, functions):
    def make(task, identity, upstream, number):
        name = functions.get(task.id, "bookkeeping")
        return attempt(
            task, identity, upstream, number, store.uri,
            function=f"step_builders:{name}", path=(BUILDERS,),
        )  # fmt: skip

    return Farm(
        Finder(store, store.result).find,
        identify,
        make,
        lambda: executor,
        lambda task, upstream: task,
        {"promote": lambda task, upstream: Built({}, 0.0)},
        lambda task, upstream, outcome: outcome,
    )


def test_children_build_crash_and_are_resumed(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    bad = {"m0/build/torch:cpu/p1": "segfault", "m0/build/torch:cpu/p2": "refuse"}
    outcomes, _ = drive(model("m0", 4), real(store, LocalExecutor(2), bad))
    assert isinstance(outcomes["m0/build/torch:cpu/p0"], Built)
    crash, refusal = outcomes["m0/build/torch:cpu/p1"], outcomes["m0/build/torch:cpu/p2"]
    assert (crash.code, crash.reproduce) == ("crashed", "again")
    assert "SIGSEGV" in crash.message
    assert refusal.code == "no-export"
    assert isinstance(outcomes["m0/promote"], Skipped)
    assert store.get_file(log_path("r1", "m0/build/torch:cpu/p1", 2)), "a crash is tried twice"
    assert store.get_file(log_path("r1", "m0/build/torch:cpu/p2", 1))
    assert store.get_file(log_path("r1", "m0/build/torch:cpu/p2", 2)) is None, "a refusal is not"
    again, _ = drive(model("m0", 4), real(store, LocalExecutor(2), {}))
    assert kind(again["m0/build/torch:cpu/p0"]) == kind(again["m0/trace"]) == "cached"
    assert kind(again["m0/build/torch:cpu/p1"]) == kind(again["m0/promote"]) == "built"


def test_steps_on_the_gpu_take_turns_and_hold_up_no_others(tmp_path):
    """Real processes that note when they ran: two slots, two steps on the GPU, two on processors."""
    store = Store.open(tmp_path / "store", create=True)
    tasks = [
        Task(TaskId(f"m{n}", "trace"), meeting(n, tmp_path), (), GPU if n < 2 else ANY)
        for n in range(4)
    ]
    executor = LocalExecutor(2, archs=("sm_90",))
    outcomes, _ = drive(tasks, real(store, executor, {task.id: "timed" for task in tasks}))
    spans = [outcomes[task.id].output for task in tasks]
    assert not overlap(spans[0], spans[1])
    assert [span["gpus"] for span in spans[2:]] == ["", ""], "a step on a processor sees no GPU"


def meeting(n, folder):
    """The spec of a `timed` step, where steps 0 and 1 run on a GPU and each has to meet one of the others."""
    own, other = ("gpu", "cpu") if n < 2 else ("cpu", "gpu")
    return {"n": n, "folder": str(folder), "own": f"{own}{n}", "other": other}


def overlap(a, b):
    return a["began"] < b["ended"] and b["began"] < a["ended"]


def test_a_machine_s_pools():
    executor = LocalExecutor(2, memory=100, archs=("sm_90",))
    cpu = executor.pools({None})[None]
    assert (cpu.window, cpu.memory) == (2, 100)
    pools = executor.pools({None, "sm_90", "sm_89"})
    assert (pools["sm_90"].window, pools["sm_90"].memory, pools[None].memory) == (1, 50, 50)
    assert pools["sm_89"].absent == (
        "no machine here has sm_89, only sm_90; run on a cluster that has one (--address), or remove "
        "the target"
    )


def test_the_first_result_wins(tmp_path):
    """A twin that takes no lease records its result while this attempt runs."""
    store = Store.open(tmp_path / "store", create=True)
    task = model("m0")[1]
    mine = attempt(
        task, {"id": "x"}, {}, 1, store.uri, function="step_builders:slow", path=(BUILDERS,)
    )
    record = {"key": mine.key, "identity": {"id": "x"}, "output": {"made": "by the twin"}}

    def twin():
        while not store.key_lease(mine.key)[0]:
            time.sleep(0.01)
        store.put_result(mine.key, record | {"provenance": {"seconds": 1.0}})

    thread = threading.Thread(target=twin)
    thread.start()
    outcome, host = perform(mine)
    thread.join()
    assert isinstance(outcome, Built)
    assert outcome.output == {"made": "by the twin"}
    assert host
    assert isinstance(perform(mine)[0], Cached)


def test_two_names_of_one_piece_of_work_run_it_once(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    ticks = tmp_path / "ticks"
    twins = [Task(TaskId(name, "trace"), {"file": str(ticks)}, (), ANY) for name in ("a", "b", "c")]
    farm = real(store, LocalExecutor(3), {f"{name}/trace": "tick" for name in "abc"})
    started = []
    farm = Farm(**{
        **vars(farm), "identify": lambda task, upstream: {"same": "work"}, "listen": started.append,
    })  # fmt: skip
    outcomes, _ = drive(twins, farm)
    assert sorted(map(kind, outcomes.values())) == ["built", "cached", "cached"]
    assert len(ticks.read_text().splitlines()) == 1
    assert len([t for t in started if t.state == "started"]) == 1


def test_two_names_of_one_failure_both_fail(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    twins = [Task(TaskId(name, "trace"), {}, (), ANY) for name in ("a", "b")]
    farm = real(store, LocalExecutor(2), {"a/trace": "segfault", "b/trace": "segfault"})
    outcomes, _ = drive(
        twins, Farm(**{**vars(farm), "identify": lambda task, upstream: {"same": 1}})
    )
    assert {outcome.code for outcome in outcomes.values()} == {"crashed"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_attempt_that_can_not_even_be_described_ends_in_a_report(tmp_path):
    executor = LocalExecutor(1)
    store = Store.open(tmp_path / "store", create=True)
    task = model("m0")[0]
    executor.submit(attempt(task, {"id": object()}, {}, 1, store.uri))
    (ended,) = executor.wait(30.0)
    assert isinstance(ended.outcome, Failed)
    assert ended.outcome.code == "error"
    assert "not JSON serializable" in ended.outcome.message


def test_a_store_that_is_gone_is_an_infrastructure_failure(tmp_path):
    task = model("m0")[0]
    outcome, _ = perform(attempt(task, {"id": "x"}, {}, 1, str(tmp_path / "absent")))
    assert isinstance(outcome, Failed)
    assert outcome.code == "infra"
    assert "absent" in outcome.message
