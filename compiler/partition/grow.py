"""Grow maximal acyclic groups over a DAG whose nodes run either in an engine or in torch.

Every node gets a level, the number of times that a path to it goes from an engine back to torch.
All engine nodes of one level form one group, and so do all torch nodes: T0 E0 T1 E1 T2 ... Edges
only go forward in that order, so the groups have no cycle, whichever branches they span. They are
maximal, too: a node of E(k) has an ancestor in T(k), which has one in E(k-1), so joining any two
engine groups closes a cycle through the torch group between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Members:
    """One group: which side runs it, and its nodes in ascending order."""

    engine: bool
    nodes: tuple[int, ...]


def grow(reads: Sequence[Sequence[int]], engine: Sequence[bool]) -> tuple[Members, ...]:
    """Groups in execution order, every node in exactly one.

    `reads[i]` are the nodes that node i reads, all smaller than i; `engine[i]` says whether an engine
    runs it. Takes time linear in nodes and edges, and makes as few engine groups as acyclicity
    allows.
    """
    level = _earliest(reads, engine)
    _postpone(level, reads, engine)
    groups: dict[tuple[int, bool], list[int]] = {}
    for node, k in enumerate(level):
        groups.setdefault((k, engine[node]), []).append(node)
    return tuple(Members(side, tuple(nodes)) for (_, side), nodes in sorted(groups.items()))


def _earliest(reads: Sequence[Sequence[int]], engine: Sequence[bool]) -> list[int]:
    level: list[int] = []
    for node, sources in enumerate(reads):
        steps = (level[s] + (engine[s] and not engine[node]) for s in sources)
        level.append(max(steps, default=0))
    return level


def _postpone(level: list[int], reads: Sequence[Sequence[int]], engine: Sequence[bool]) -> None:
    """Move pieces that need nothing from the other side next to their readers, in place.

    Position ids and masks are such pieces: computed at the start, they would be carried through
    every segment. Torch nodes before the first engine that it does not need also move, so that T0
    exists only where an engine reads from it. A piece moves as a whole: otherwise its inner
    values would be carried instead. The chain that makes the groups maximal can't move: its engine
    nodes of level k are read in T(k+1).
    """
    root = list(range(len(reads)))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    free: list[bool] = []
    for node, sources in enumerate(reads):
        free.append(all(free[s] and engine[s] == engine[node] for s in sources))
        if free[node]:
            for source in sources:
                root[find(source)] = find(node)

    latest: dict[int, int] = {}
    for node, sources in enumerate(reads):
        if free[node]:
            continue
        for source in filter(free.__getitem__, sources):
            bound = level[node] - (engine[source] and not engine[node])
            piece = find(source)
            latest[piece] = min(bound, latest.get(piece, bound))

    unread = [n for n in range(len(reads)) if free[n] and find(n) not in latest]
    for node in range(len(reads)):
        if free[node]:
            level[node] = latest.get(find(node), 0)
    # A torch piece that is returned but never read joins the first other torch nodes.
    alone = {n for n in unread if not engine[n]}
    others = [k for n, k in enumerate(level) if not engine[n] and n not in alone]
    for node in alone:
        level[node] = min(others, default=0)
