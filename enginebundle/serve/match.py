"""Which variants of a bundle may run on a machine, and why the others may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginebundle.format.evidence import State
from enginebundle.format.spec import Target
from enginebundle.format.variant import Variant
from enginebundle.serve.machine import Machine

MODULES: Mapping[str, str] = {"torch": "torch", "rtx": "tensorrt_rtx", "trt": "tensorrt"}
"""The Python module that runs each backend."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A variant that may run here, and its state."""

    target: Target
    state: State

    def __str__(self) -> str:
        return f"{self.target}: accepted ({self.state})"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A variant that may not run here; `reason` says what was expected, found and would help."""

    target: Target
    state: State
    reason: str

    def __str__(self) -> str:
        return f"{self.target}: {self.reason}"


Choice = Accepted | Rejected


def match(
    variants: Sequence[Variant],
    states: Mapping[Target, State],
    machine: Machine,
    *,
    allow_pending: bool = False,
    target: Target | None = None,
) -> tuple[Choice, ...]:
    """One Choice for each variant, the accepted first, the best of them in front.

    An engine for exactly this architecture beats one for a group of them, the smaller group the
    larger, and any engine beats torch on the CPU; then validated beats pending. `target` rejects all
    others and is the caller's word that its engine runs here: architectures are not compared then.
    """
    accepted: list[tuple[tuple[int, int, int, str], Choice]] = []
    rejected: list[Choice] = []
    for variant in variants:
        state: State = states.get(variant.target, "pending")
        reason = _reason(variant, state, machine, allow_pending, target)
        if reason is None:
            rank = _rank(variant.target, state)
            accepted.append((rank, Accepted(variant.target, state)))
        else:
            rejected.append(Rejected(variant.target, state, reason))
    ordered = [choice for _, choice in sorted(accepted, key=lambda pair: pair[0])]
    return (*ordered, *rejected)


def _rank(target: Target, state: State) -> tuple[int, int, int, str]:
    on_cpu = target.backend == "torch"
    return (int(on_cpu), len(target.archs), int(state != "validated"), str(target))


def _reason(
    variant: Variant,
    state: State,
    machine: Machine,
    allow_pending: bool,
    wanted: Target | None,
) -> str | None:
    target = variant.target
    if wanted is not None and target != wanted:
        return f"not the target asked for, {wanted}"
    if wanted is None and target.backend != "torch" and machine.arch not in target.archs:
        gpu = f"a GPU of {machine.arch}" if machine.arch else "no CUDA GPU"
        return f"needs a GPU of {' or '.join(target.archs)}; this machine has {gpu}"
    reason = _runtime_reason(variant, machine)
    if reason is not None:
        return reason
    if state == "failed":
        return (
            "failed its validation: its goldens were not reproduced. Build it again, or look at the "
            "evidence with `python -m enginebundle inspect`"
        )
    if state == "pending" and not allow_pending:
        return (
            "pending: no key trusted here has signed evidence that it reproduces its goldens. Run "
            f"`kiln validate NAME --target {target}` on such a machine, or pass allow_pending=True"
        )
    return None


def _runtime_reason(variant: Variant, machine: Machine) -> str | None:
    module = MODULES[variant.target.backend]
    found = machine.runtime(module)
    if module == "torch":
        # Graphs are lists of aten calls, not tied to a torch version; opening one checks each call.
        return None if found else "needs torch, which is not installed here"
    wanted = dict(variant.toolchain.versions).get(module)
    if wanted is None:
        return f"its toolchain names no version of {module}; build it again"
    if found is None:
        return f"needs {module} {wanted}, which is not installed here"
    if found != wanted:
        return (
            f"needs {module} {wanted}, which built its engines; this machine has {found}. "
            "Install that version, or build the bundle with this one"
        )
    if machine.runtime("torch") is None:
        return "needs torch with CUDA beside it, which is not installed here"
    return None
