"""Tasks as the schedule sees them: edges, pools, and an order by the work that depends on each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pool:
    """Where tasks of one kind run: how many at once, and their processors and bytes together.

    `absent` is the reason why nothing in this pool can ever run. Its tasks are handed out like any
    others, because a result made elsewhere needs no machine; without one they end with that reason.
    """

    name: str
    window: int
    cpus: float = float("inf")
    memory: float = float("inf")
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """What the schedule knows about a task. `cost` estimates its seconds; only ratios matter."""

    id: str
    pool: str
    needs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    cpus: float = 1.0
    memory: float = 0.0
    cost: float = 1.0
    blockable: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskGraph:
    """The static part: items in order of priority, with edges as indexes. Made by `graph_of`."""

    items: tuple[Item, ...]
    pools: tuple[Pool, ...]
    index: dict[str, int] = field(repr=False)
    needs: tuple[tuple[int, ...], ...] = field(repr=False)
    optional: tuple[frozenset[int], ...] = field(repr=False)
    blockable: tuple[frozenset[int], ...] = field(repr=False)
    dependents: tuple[tuple[int, ...], ...] = field(repr=False)
    pool: tuple[int, ...] = field(repr=False)


def graph_of(items: Iterable[Item], pools: Iterable[Pool]) -> TaskGraph:
    """Order the items and resolve their edges.

    Raises ValueError on an unknown need or pool, a pool without room, a duplicate id, or a cycle.
    """
    listed = tuple(items)
    given = {item.id: item for item in listed}
    if len(given) != len(listed):
        raise ValueError("two tasks have the same id")
    pool_list = tuple(pools)
    names = {pool.name: number for number, pool in enumerate(pool_list)}
    for pool in pool_list:
        if pool.window < 1 and not pool.absent:
            raise ValueError(f"pool {pool.name!r}: window {pool.window}, expected at least 1")
    for item in listed:
        if item.pool not in names:
            raise ValueError(f"task {item.id}: no pool {item.pool!r}, only {sorted(names)}")
        for need in item.needs:
            if need not in given:
                raise ValueError(f"task {item.id} needs {need!r}, which is not in the plan")
        if not {*item.optional, *item.blockable} <= set(item.needs):
            raise ValueError(f"task {item.id}: `optional` and `blockable` must be among `needs`")
    behind = _paths(given)
    order = sorted(range(len(listed)), key=lambda n: (-behind[listed[n].id], n))
    ordered = tuple(listed[n] for n in order)
    index = {item.id: n for n, item in enumerate(ordered)}
    dependents: list[list[int]] = [[] for _ in ordered]
    for n, item in enumerate(ordered):
        for need in item.needs:
            dependents[index[need]].append(n)
    return TaskGraph(
        ordered,
        pool_list,
        index,
        tuple(tuple(index[need] for need in item.needs) for item in ordered),
        tuple(frozenset(index[need] for need in item.optional) for item in ordered),
        tuple(frozenset(index[need] for need in item.blockable) for item in ordered),
        tuple(map(tuple, dependents)),
        tuple(names[item.pool] for item in ordered),
    )


def _paths(items: dict[str, Item]) -> dict[str, float]:
    """The cost of the longest path from each task to the end. ValueError on a cycle."""
    left = dict.fromkeys(items, 0)
    for item in items.values():
        for need in item.needs:
            left[need] += 1
    free = [name for name, count in left.items() if count == 0]
    behind: dict[str, float] = dict.fromkeys(items, 0.0)
    seen = 0
    while free:
        item = items[free.pop()]
        seen += 1
        behind[item.id] += item.cost
        for need in item.needs:
            behind[need] = max(behind[need], behind[item.id])
            left[need] -= 1
            if left[need] == 0:
                free.append(need)
    if seen != len(items):
        stuck = sorted(name for name, count in left.items() if count)
        raise ValueError(f"tasks need each other in a circle: {', '.join(stuck[:5])}")
    return behind
