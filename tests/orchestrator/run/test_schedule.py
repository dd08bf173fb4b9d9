import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.run.events import Ended, Resized, Settle, Started, Submit
from orchestrator.run.schedule import Usage, advance, begin
from orchestrator.run.taskgraph import Item, Pool, graph_of
from orchestrator.worker.outcome import ATTEMPTS, Blocked, Built, Cached, Failed, Skipped, classify

OK = Built({}, 1.0)
NO_GPU = Blocked("no machine here has sm_90")
CODES = ("infra", "crashed", "timeout", "no-export")


@st.composite
def worlds(draw):
    """A random graph, its pools, and for each task the outcomes its attempts will have."""
    pools = tuple(
        Pool(
            name,
            draw(st.integers(1, 3)),
            draw(st.sampled_from([0.5, 2.0])),
            draw(st.sampled_from([3.0, 8.0])),
        )
        for name in ("cpu", "gpu")
    )
    items, outcomes = [], {}
    for n in range(draw(st.integers(1, 14))):
        needs = (
            draw(st.lists(st.sampled_from([i.id for i in items]), unique=True, max_size=3))
            if (items)
            else []
        )
        optional = [need for need in needs if draw(st.booleans())]
        blockable = [need for need in needs if draw(st.booleans())]
        items.append(
            Item(
                f"t{n}",
                draw(st.sampled_from(["cpu", "gpu"])),
                tuple(needs),
                tuple(optional),
                draw(st.sampled_from([0.1, 1.0, 4.0])),
                draw(st.sampled_from([0.0, 2.0, 9.0])),
                draw(st.sampled_from([1.0, 30.0])),
                guess=draw(st.booleans()),
                blockable=tuple(blockable),
            )
        )
        outcomes[f"t{n}"] = [
            draw(st.sampled_from([OK, OK, NO_GPU, *[Failed(code, "") for code in CODES]]))
            for _ in range(3)
        ]
    return items, pools, outcomes, draw(st.randoms(use_true_random=False))


class World:
    """Plays the executor: keeps what runs, ends it in any order, and checks every promise."""

    def __init__(self, items, pools, outcomes, rng, done=()):
        self.items = {item.id: item for item in items}
        self.pools = {pool.name: pool for pool in pools}
        self.outcomes, self.rng = outcomes, rng
        self.graph = graph_of(items, pools)
        self.running, self.settled, self.attempts = {}, {}, {}
        self.ok = set(done)
        self.state, commands = begin(self.graph, done)
        self.obey(commands)

    def obey(self, commands):
        for command in commands:
            match command:
                case Submit(name, attempt):
                    self.check_submit(self.items[name], attempt)
                    self.running[name] = attempt
                case Settle(name, outcome):
                    assert name not in self.settled, "ended twice"
                    assert name not in self.ok
                    self.settled[name] = outcome
                    if isinstance(outcome, Built | Cached):
                        self.ok.add(name)
        self.check_room()

    def check_submit(self, item, attempt):
        assert item.id not in self.running
        assert item.id not in self.settled
        over = self.ok | self.settled.keys()
        assert set(item.needs) <= over, "a child before its parents"
        blocked = {name for name, end in self.settled.items() if isinstance(end, Blocked)}
        spared = set(item.optional) | set(item.blockable) & blocked
        assert set(item.needs) - spared <= self.ok
        assert not item.optional or set(item.optional) & self.ok
        assert attempt == self.attempts.get(item.id, 0) + 1
        self.attempts[item.id] = attempt

    def check_room(self):
        for pool in self.pools.values():
            running = map(self.items.__getitem__, self.running)
            mine = [item for item in running if item.pool == pool.name]
            assert len(mine) <= pool.window
            assert sum(min(i.cpus, pool.cpus) for i in mine) <= pool.cpus + 1e-9
            assert sum(min(i.memory, pool.memory) for i in mine) <= pool.memory + 1e-9

    def step(self):
        name = self.rng.choice(sorted(self.running))
        attempt = self.running.pop(name)
        events = [Ended(name, attempt, self.outcomes[name][attempt - 1])]
        if self.rng.random() < 0.3:  # A zombie's report: late, doubled or of an older attempt.
            events.append(Ended(name, self.rng.randint(0, attempt), OK))
        self.state, commands = advance(self.graph, self.state, events)
        self.obey(commands)

    def run(self):
        while self.running:
            self.step()
        assert self.state.over
        assert self.settled.keys() | self.ok == self.items.keys()
        return self


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_every_task_ends_once_in_order_and_within_its_pool(world):
    played = World(*world).run()
    for name, outcome in played.settled.items():
        if isinstance(outcome, Failed):
            tried = played.attempts[name]
            assert ATTEMPTS[classify(outcome.code)] <= tried <= 3
        if isinstance(outcome, Skipped):
            assert isinstance(played.settled[outcome.failed], Failed)
        if isinstance(outcome, Blocked) and outcome != NO_GPU:
            named = outcome.why.removeprefix("needs ").partition(",")[0]
            assert played.settled[named] == NO_GPU
            assert name not in played.attempts, "blocked by what it needs, and yet it ran"


@settings(max_examples=200, deadline=None)
@given(worlds(), st.integers(0, 20))
def test_resuming_after_any_number_of_steps_converges_on_the_same_end(world, steps):
    items, pools, outcomes, rng = world
    # Only lasting failures: an outcome by luck may differ between two runs.
    outcomes = {
        name: [o if o in (OK, NO_GPU) else Failed("no-export", "") for o in [of[0]] * 3]
        for name, of in outcomes.items()
    }
    whole = World(items, pools, outcomes, rng).run()
    killed = World(items, pools, outcomes, rng)
    for _ in range(steps):
        if killed.running:
            killed.step()
    resumed = World(items, pools, outcomes, rng, done=killed.ok).run()
    assert resumed.ok == whole.ok
    redone = resumed.attempts.keys() & killed.ok
    assert not redone


def play(items, pools, outcomes=None):
    chosen = {i.id: [(outcomes or {}).get(i.id, OK)] * 3 for i in items}
    return World(items, pools, chosen, random.Random(0)).run()


def test_dependents_of_a_failed_task_name_the_root():
    items = [Item("a", "p"), Item("b", "p", ("a",)), Item("c", "p", ("b",)), Item("d", "p")]
    end = play(items, [Pool("p", 1)], {"a": Failed("no-export", "x")}).settled
    assert end["b"] == end["c"] == Skipped("a")
    assert end["d"] == OK


def test_an_optional_need_may_fail_if_another_succeeds():
    items = [
        Item("x", "p"),
        Item("y", "p"),
        Item("publish", "p", ("x", "y"), ("x", "y")),
    ]
    bad = Failed("no-export", "x")
    assert play(items, [Pool("p", 9)], {"x": bad}).settled["publish"] == OK
    none = play(items, [Pool("p", 9)], {"x": bad, "y": bad}).settled
    assert none["publish"] == Skipped("x")


def test_the_longest_path_goes_first():
    items = [
        Item("short", "p", cost=5),
        Item("long", "p", cost=1),
        Item("behind", "p", ("long",), cost=30),
    ]
    _, commands = begin(graph_of(items, [Pool("p", 1)]))
    assert commands == (Submit("long", 1),)


def test_a_task_larger_than_its_pool_runs_alone():
    items = [Item("big", "p", memory=100.0, cost=2), Item("small", "p", memory=1.0)]
    _, commands = begin(graph_of(items, [Pool("p", 9, memory=10.0)]))
    assert commands == (Submit("big", 1),)


def test_memory_that_shows_late_counts_from_then_on():
    items = [Item("trace", "p"), Item("a", "p", ("trace",)), Item("b", "p", ("trace",))]
    graph = graph_of(items, [Pool("p", 9, memory=10.0)])
    state, _ = begin(graph)
    events = [Resized("a", 6.0), Resized("b", 6.0), Ended("trace", 1, OK)]
    _, commands = advance(graph, state, events)
    assert commands == (Settle("trace", OK), Submit("a", 1))


def test_tasks_of_a_pool_without_machines_are_handed_out_at_once():
    """The driver may find their results; it blocks those that have none."""
    pools = [Pool("p", 1), Pool("sm_90", 0, absent="no node has the label farm/sm=sm_90")]
    items = [Item(f"build{n}", "sm_90", cpus=9.0, memory=9.0) for n in range(3)]
    _, commands = begin(graph_of(items, pools))
    assert len(commands) == 3


BUNDLE = [
    Item("cpu", "p"),
    Item("gpu", "p"),
    Item("publish", "p", ("cpu", "gpu"), ("cpu", "gpu")),
    Item("validate", "p", ("cpu", "publish")),
    Item("promote", "p", ("publish", "cpu", "gpu", "validate"), blockable=("cpu", "gpu")),
]
"""A model's tasks after its trace, for two targets."""


def test_a_blocked_build_stands_in_nobodys_way():
    end = play(BUNDLE, [Pool("p", 9)], {"gpu": NO_GPU}).settled
    assert end.pop("gpu") == NO_GPU
    assert all(outcome == OK for outcome in end.values())


def test_a_failed_build_still_stops_the_promotion():
    end = play(BUNDLE, [Pool("p", 9)], {"gpu": Failed("builder", "x")}).settled
    assert (end["validate"], end["promote"]) == (OK, Skipped("gpu"))
    both = play(BUNDLE, [Pool("p", 9)], {"cpu": Failed("builder", "x"), "gpu": NO_GPU}).settled
    assert both["publish"] == both["promote"] == Skipped("cpu")


def test_where_every_build_is_blocked_so_is_the_rest():
    end = play(BUNDLE, [Pool("p", 9)], {"cpu": NO_GPU, "gpu": NO_GPU}).settled
    because = Blocked("needs cpu, which no machine here can make")
    assert end["publish"] == end["validate"] == end["promote"] == because


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Item("a", "p"), Item("a", "p")], "same id"),
        ([Item("a", "q")], "no pool 'q'"),
        ([Item("a", "p", ("z",))], "needs 'z'"),
        ([Item("a", "p", (), ("z",))], "among `needs`"),
        ([Item("a", "p", ("b",)), Item("b", "p", ("a",))], "in a circle: a, b"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(items, message):
    with pytest.raises(ValueError, match=message):
        graph_of(items, [Pool("p", 1)])


INFRA = Failed("infra", "gone")


def ids(commands, kind=Submit):
    return [command.id for command in commands if isinstance(command, kind)]


def test_a_state_tells_what_runs_and_whether_all_is_over():
    graph = graph_of([Item("a", "p"), Item("b", "q"), Item("c", "p", ("a",))],
                     [Pool("p", 1), Pool("q", 1, ahead=1)])  # fmt: skip
    state, commands = begin(graph)
    assert (state.running, state.over) == (2, False)
    assert sorted(ids(commands)) == ["a", "b"]
    state, _ = advance(graph, state, [Ended("b", 1, OK)])
    assert (state.running, state.over) == (1, False)
    state, commands = advance(graph, state, [Ended("a", 1, OK)])
    assert (state.running, state.over, ids(commands)) == (1, False, ["c"])
    state, commands = advance(graph, state, [Ended("c", 1, OK)])
    assert (state.running, state.over, commands) == (0, True, (Settle("c", OK),))


@pytest.mark.parametrize("end", [OK, Failed("no-export", "x"), NO_GPU])
def test_however_all_tasks_end_it_is_over(end):
    graph = graph_of([Item("a", "p"), Item("b", "p", ("a",))], [Pool("p", 1)])
    state, _ = begin(graph)
    state, commands = advance(graph, state, [Ended("a", 1, end)])
    if end == OK:
        state, commands = advance(graph, state, [Ended("b", 1, OK)])
    assert state.over
    assert commands[-1].id == "b"


def test_a_pool_counts_what_its_tasks_take_and_forgets_it_when_they_end():
    items = [Item(f"t{n}", "p", cpus=2.0, memory=3.0, cost=9 - n) for n in range(4)]
    graph = graph_of([*items, Item("r", "ray", cpus=1.0, memory=5.0)],
                     [Pool("p", 3, cpus=6.0, memory=9.0), Pool("ray", 2, ahead=2)])  # fmt: skip
    state, commands = begin(graph)
    assert state.usage == (Usage(3, 0, 6.0, 9.0), Usage(1, 1, 1.0, 5.0))
    state, _ = advance(graph, state, [Started("r", 1)])
    assert state.usage[1] == Usage(1, 0, 1.0, 5.0)
    state, commands = advance(graph, state, [Ended("t1", 1, OK)])
    assert ids(commands) == ["t3"]
    assert state.usage[0] == Usage(3, 0, 6.0, 9.0)
    state, commands = advance(graph, state, [Ended("t0", 1, OK), Ended("t3", 1, OK)])
    assert state.usage[0] == Usage(1, 0, 2.0, 3.0)
    state, commands = advance(graph, state, [Ended("t2", 1, OK), Ended("r", 1, OK)])
    assert state.usage == (Usage(), Usage())


@pytest.mark.parametrize(
    ("pool", "started"),
    [
        (Pool("p", 2), 2),
        (Pool("p", 9, cpus=4.0), 2),
        (Pool("p", 9, cpus=3.5), 1),
        (Pool("p", 9, memory=6.0), 2),
        (Pool("p", 9, memory=5.0), 1),
        (Pool("p", 9, ahead=2), 2),
        (Pool("p", 1, ahead=2), 1),
        (Pool("p", 9), 3),
    ],
)
def test_as_many_start_as_fit(pool, started):
    items = [Item(f"t{n}", "p", cpus=2.0, memory=3.0) for n in range(3)]
    _, commands = begin(graph_of(items, [pool]))
    assert ids(commands) == [f"t{n}" for n in range(started)]


def test_a_big_task_at_the_front_is_not_overtaken():
    items = [Item("runs", "p", cost=9, memory=6.0), Item("big", "p", cost=5, memory=6.0),
             Item("small", "p", memory=1.0)]  # fmt: skip
    graph = graph_of(items, [Pool("p", 9, memory=10.0)])
    state, commands = begin(graph)
    assert ids(commands) == ["runs"]
    state, commands = advance(graph, state, [Ended("runs", 1, OK)])
    assert ids(commands) == ["big", "small"]


def test_what_is_left_after_rounding_keeps_no_task_waiting():
    """0.2 + 0.4 + 0.3 and the same taken away again leave 6e-17: too much for a task that needs all."""
    items = [Item("a", "p", cpus=0.2, cost=9), Item("b", "p", cpus=0.4, cost=8),
             Item("c", "p", cpus=0.3, cost=7)]  # fmt: skip
    graph = graph_of([*items, Item("all", "p", cpus=1.0)], [Pool("p", 9, cpus=1.0)])
    state, commands = begin(graph)
    assert ids(commands) == ["a", "b", "c"]
    for name in "abc":
        state, commands = advance(graph, state, [Ended(name, 1, OK)])
    assert ids(commands) == ["all"]


def test_what_may_have_been_luck_is_tried_again_and_goes_back_to_its_place():
    items = [Item("first", "p", cost=9), Item("second", "p", cost=5), Item("third", "p")]
    graph = graph_of(items, [Pool("p", 1)])
    state, commands = begin(graph)
    for attempt in (1, 2):
        assert commands[-1] == Submit("first", attempt)
        assert ids(commands, Settle) == []
        state, commands = advance(graph, state, [Ended("first", attempt, INFRA)])
    assert commands == (Submit("first", 3),)
    state, commands = advance(graph, state, [Ended("first", 3, INFRA)])
    assert commands == (Settle("first", INFRA), Submit("second", 1))


def test_reports_that_come_late_twice_or_of_another_attempt_change_nothing():
    graph = graph_of([Item("a", "p", cost=9), Item("b", "p")], [Pool("p", 1)])
    state, _ = begin(graph)
    for nonsense in (Ended("b", 1, OK), Ended("a", 0, OK), Ended("a", 2, OK), Started("a", 1)):
        assert advance(graph, state, [nonsense]) == (state, ())
    retried, commands = advance(graph, state, [Ended("a", 1, INFRA)])
    assert commands == (Submit("a", 2),)
    assert advance(graph, retried, [Ended("a", 1, OK)]) == (retried, ())
    done, _ = advance(graph, retried, [Ended("a", 2, OK)])
    assert advance(graph, done, [Ended("a", 2, INFRA), Ended("a", 1, INFRA)]) == (done, ())


def test_memory_is_resized_until_a_task_starts():
    items = [Item("a", "p", memory=4.0, cost=9), Item("b", "p", memory=4.0), Item("c", "p", ("b",))]
    graph = graph_of(items, [Pool("p", 1, memory=10.0)])
    state, _ = begin(graph)
    resizes = [Resized("a", 9.0), Resized("b", 7.0), Resized("c", 2.0)]
    state, commands = advance(graph, state, resizes)
    assert commands == ()
    assert state.usage == (Usage(1, 0, 1.0, 4.0),)
    taken = []
    for name in ("a", "b"):
        state, commands = advance(graph, state, [Ended(name, 1, OK)])
        taken += [(c.id, c.memory) for c in commands if isinstance(c, Submit)]
    assert taken == [("b", 7.0), ("c", 2.0)]
    assert state.usage == (Usage(1, 0, 1.0, 2.0),)


def test_another_need_of_memory_changes_no_other_tasks():
    """One of five gets another estimate, and one twice as much after it ran out; the others keep theirs."""
    needs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
    items = [Item(name, "p", memory=memory, guess=True) for name, memory in needs.items()]
    graph = graph_of(items, [Pool("p", 1, memory=64.0)])
    state, commands = begin(graph)
    taken = {}
    state, more = advance(graph, state, [Resized("c", 30.0)])
    commands = [*commands, *more]
    short = Failed("memory", "it was killed")
    for _ in range(6):
        (command,) = (c for c in commands if isinstance(c, Submit))
        taken[command.id, command.attempt] = command.memory
        outcome = short if (command.id, command.attempt) == ("b", 1) else OK
        state, commands = advance(graph, state, [Ended(command.id, command.attempt, outcome)])
    assert taken == {
        ("a", 1): 1.0, ("b", 1): 2.0, ("b", 2): 4.0, ("c", 1): 30.0, ("d", 1): 4.0, ("e", 1): 5.0,
    }  # fmt: skip


def test_what_is_done_already_is_neither_run_nor_told():
    items = [Item("a", "p"), Item("b", "p", ("a",)), Item("c", "p", ("b",)), Item("d", "p", ("c",))]
    graph = graph_of(items, [Pool("p", 9)])
    state, commands = begin(graph, {"a", "b"})
    assert commands == (Submit("c", 1),)
    assert not state.over
    state, commands = begin(graph, {"a", "b", "c", "d"})
    assert (commands, state.over) == ((), True)


def test_a_task_that_found_out_that_it_was_skipped_skips_what_needs_it():
    graph = graph_of([Item("a", "p"), Item("b", "p", ("a",))], [Pool("p", 9)])
    state, _ = begin(graph)
    state, commands = advance(graph, state, [Ended("a", 1, Skipped("elsewhere"))])
    assert commands == (Settle("a", Skipped("elsewhere")), Settle("b", Skipped("a")))
    assert state.over


def test_a_cached_result_is_as_good_as_a_built_one():
    graph = graph_of([Item("a", "p"), Item("b", "p", ("a",))], [Pool("p", 9)])
    state, _ = begin(graph)
    _, commands = advance(graph, state, [Ended("a", 1, Cached({}))])
    assert commands == (Settle("a", Cached({})), Submit("b", 1))


def test_the_root_of_a_chain_is_told_through_any_number_of_tasks():
    chain = [Item("a", "p"), *(Item(b, "p", (a,)) for a, b in ("ab", "bc", "cd"))]
    end = play(chain, [Pool("p", 9)], {"a": NO_GPU}).settled
    because = Blocked("needs a, which no machine here can make")
    assert end == {"a": NO_GPU, "b": because, "c": because, "d": because}
    end = play(chain, [Pool("p", 9)], {"b": Failed("no-export", "x")}).settled
    assert end["c"] == end["d"] == Skipped("b")


def test_of_failed_and_blocked_needs_of_which_one_would_do_the_failure_is_told():
    both = ("none", "bad")
    items = [Item("bad", "p"), Item("none", "p"), Item("c", "p", both, optional=both)]
    outcomes = {"bad": Failed("no-export", "x"), "none": NO_GPU}
    assert play(items, [Pool("p", 9)], outcomes).settled["c"] == Skipped("bad")


def test_an_optional_need_that_is_not_over_is_waited_for():
    items = [Item("x", "p", cost=9), Item("y", "p"), Item("z", "p", ("x", "y"), ("x", "y"))]
    graph = graph_of(items, [Pool("p", 9)])
    state, _ = begin(graph)
    state, commands = advance(graph, state, [Ended("x", 1, Failed("no-export", ""))])
    assert ids(commands) == []
    _, commands = advance(graph, state, [Ended("y", 1, OK)])
    assert ids(commands) == ["z"]
