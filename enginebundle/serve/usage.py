"""What a session holds in memory, and what it did, as values at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a session holds. What TensorRT keeps beside these, it tells nobody.

    `engines` are open engines as the bundle has them, with the weights that a refitted one got: about what they take
    on the GPU. `weights` are tensors of torch graphs, each once; `shared` is what they would take in addition if
    each graph had its own. `contexts` is the scratch memory of execution contexts, which calls of an engine share.
    """

    engines: int = 0
    weights: int = 0
    shared: int = 0
    contexts: int = 0

    @property
    def total(self) -> int:
        """Everything that is held."""
        return self.engines + self.weights + self.contexts

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.engines + other.engines,
            self.weights + other.weights,
            self.shared + other.shared,
            self.contexts + other.contexts,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """`outside`: calls with sizes outside of all profiles, which the bundle's torch graph answered. `opened` and
    `parts`: how many parts of the variant are open, of how many. `sizes`: for how many different sizes of inputs
    calls are prepared now."""

    outside: int
    opened: int
    parts: int
    sizes: int
