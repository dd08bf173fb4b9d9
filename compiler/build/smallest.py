"""The smallest set of things whose removal mends something, found by trying.

Delta debugging as in Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (IEEE
TSE 28(2), 2002): the set that is known to do is cut into parts, and each part that turns out not to be
needed is dropped.
"""

from __future__ import annotations

from collections.abc import Callable


def smallest(things: tuple[str, ...], does: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """Those of `things`, in their order, of which none can be spared; all of them are known to do.

    `does` tells whether a set does. One culprit among n takes about 2 * log2(n) calls. A `does` that
    gives up answers False from then on: what comes back is the smallest set that was seen to do.
    """
    kept = list(things)
    parts = 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        cuts = [kept[start : start + size] for start in range(0, len(kept), size)]
        for cut in cuts:
            rest = [thing for thing in kept if thing not in set(cut)]
            if rest and does(frozenset(rest)):
                kept, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), 2 * parts)
    return tuple(kept)
