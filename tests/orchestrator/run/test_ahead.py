"""Pools whose tasks start when somebody else says so, and tasks whose memory was estimated."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.run.events import Ended, Settle, Started, Submit
from orchestrator.run.schedule import advance, begin
from orchestrator.run.taskgraph import Item, Pool, graph_of
from orchestrator.worker.outcome import Built, Failed

GOOD = Built({}, 1.0)
SHORT = Failed("memory", "used too much")


def submitted(commands):
    return [command.id for command in commands if isinstance(command, Submit)]


def test_one_waits_and_the_next_follows_when_it_has_started():
    graph = graph_of(
        [Item(f"t{n}", "ray", cost=9.0 - n) for n in range(5)], [Pool("ray", 100, ahead=1)]
    )
    state, commands = begin(graph)
    assert submitted(commands) == ["t0"]
    state, commands = advance(graph, state, [])
    assert submitted(commands) == []
    state, commands = advance(graph, state, [Started("t0", 1)])
    assert submitted(commands) == ["t1"]
    state, commands = advance(graph, state, [Started("t0", 1), Started("t1", 2), Started("t4", 1)])
    assert submitted(commands) == [], "neither an old report nor one of another attempt counts"
    state, commands = advance(graph, state, [Ended("t1", 1, GOOD)])
    assert submitted(commands) == ["t2"], "whatever ends has started"
    state, commands = advance(graph, state, [Ended("t0", 1, GOOD)])
    assert submitted(commands) == []
    state, commands = advance(graph, state, [Started("t2", 1)])
    assert submitted(commands) == ["t3"]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_starts_and_ends_when_all_end_in_order_and_never_more_wait(data):
    ahead = data.draw(st.integers(1, 3))
    graph = graph_of(
        [Item(f"t{n}", "ray", cost=99.0 - n) for n in range(12)], [Pool("ray", 6, ahead=ahead)]
    )
    state, commands = begin(graph)
    order, waiting, running = [], [], []
    while True:
        for command in commands:
            if isinstance(command, Submit):
                order.append((command.id, command.attempt))
                waiting.append((command.id, command.attempt))
        assert len(waiting) <= ahead
        assert len(waiting) + len(running) <= 6
        if not (waiting or running):
            break
        if waiting and (not running or data.draw(st.booleans())):
            one = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            if data.draw(st.integers(0, 5)) == 0:  # lost before it started
                event = Ended(*one, Failed("infra", "lost") if one[1] < 2 else GOOD)
            else:
                running.append(one)
                event = Started(*one)
        else:
            one = running.pop(data.draw(st.integers(0, len(running) - 1)))
            event = Ended(*one, GOOD)
        state, commands = advance(graph, state, [event])
    assert state.over
    assert [name for name, attempt in order if attempt == 1] == [f"t{n}" for n in range(12)]
    assert all(usage.count == usage.waiting == 0 for usage in state.usage)


def test_an_estimate_that_was_too_small_is_doubled_up_to_what_there_is():
    graph = graph_of([Item("t", "p", memory=4.0, guess=True)], [Pool("p", 2, memory=13.0)])
    state, commands = begin(graph)
    seen = []
    attempt = 0
    while submitted(commands):
        (command,) = commands
        seen.append(command.memory)
        attempt += 1
        state, commands = advance(graph, state, [Ended("t", attempt, SHORT)])
    assert seen == [4.0, 8.0, 13.0]
    assert commands == (Settle("t", SHORT),)


def test_memory_that_was_given_is_not_doubled():
    graph = graph_of([Item("t", "p", memory=4.0)], [Pool("p", 2, memory=13.0)])
    state, _ = begin(graph)
    _, commands = advance(graph, state, [Ended("t", 1, SHORT)])
    assert commands == (Settle("t", SHORT),)


def test_on_a_cluster_one_task_gets_at_most_what_a_node_has():
    graph = graph_of([Item("t", "p", memory=4.0, guess=True)], [Pool("p", 2, ahead=1, most=5.0)])
    state, _ = begin(graph)
    state, commands = advance(graph, state, [Ended("t", 1, SHORT)])
    assert [command.memory for command in commands] == [5.0]
    _, commands = advance(graph, state, [Ended("t", 2, SHORT)])
    assert commands == (Settle("t", SHORT),)
