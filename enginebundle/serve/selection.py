"""Which variants of a bundle may run on a machine, in which order, and why the others may not. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from enginebundle.format.spec import HARDWARE, Target
from enginebundle.format.variant import Variant
from enginebundle.format.verdict import State, Verdict
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
    """A variant that may not run here. `reason`: what it needs, what was found, what would help."""

    target: Target
    state: State
    reason: str

    def __str__(self) -> str:
        return f"{self.target}: {self.reason}"


Choice = Accepted | Rejected


def rank(
    variants: Sequence[Variant],
    verdicts: Mapping[Target, Verdict],
    machine: Machine,
    *,
    allow_pending: bool = False,
    target: Target | None = None,
    plugins: Collection[str] = (),
    operators: Collection[str] = (),
) -> tuple[Choice, ...]:
    """One Choice per variant: first the accepted ones, the best in front, then the rejected ones.

    A variant without a verdict is pending.

    Any engine beats torch on the CPU. Among engines, one for fewer GPUs beats one for more, and one
    for one TensorRT version beats a version-compatible one: each is faster. Then validated beats
    pending.

    `target` rejects all others. Naming it is the caller's word that its engine runs here, so
    architectures are not compared. `plugins` are those registered with TensorRT in this process,
    `operators` those that the caller allows, by full name.
    """
    accepted: list[tuple[tuple[int | str, ...], Choice]] = []
    rejected: list[Choice] = []
    for variant in variants:
        found = verdicts.get(variant.target, Verdict("pending"))
        state = found.state
        reason = _reason(variant, found, machine, allow_pending, target)
        if reason is None:
            reason = _plugin_reason(variant, plugins) or _operator_reason(variant, operators)
        if reason is None:
            place = _place(variant, state)
            accepted.append((place, Accepted(variant.target, state)))
        else:
            rejected.append(Rejected(variant.target, state, reason))
    ordered = [choice for _, choice in sorted(accepted, key=lambda pair: pair[0])]
    return (*ordered, *rejected)


def _place(variant: Variant, state: State) -> tuple[int | str, ...]:
    target = variant.target
    return (
        int(target.backend == "torch"), len(target.archs), HARDWARE.index(target.hardware),
        int(variant.version_compatible), int(state != "validated"), str(target),
    )  # fmt: skip


def _reason(
    variant: Variant,
    found: Verdict,
    machine: Machine,
    allow_pending: bool,
    wanted: Target | None,
) -> str | None:
    """Why the variant may not run; None if it may."""
    target = variant.target
    if wanted is not None and target != wanted:
        return f"not the target asked for, {wanted}"
    if wanted is None and target.backend != "torch" and machine.arch not in target.archs:
        gpu = f"a GPU of {machine.arch}" if machine.arch else "no CUDA GPU"
        return f"needs a GPU of {' or '.join(target.archs)}; this machine has {gpu}"
    reason = _runtime_reason(variant, machine)
    if reason is not None:
        return reason
    if found.state == "failed":
        return (
            f"failed its validation: {found.reason}. Build it again, or look at the evidence with "
            "`python -m enginebundle inspect`"
        )
    if found.state == "pending" and not allow_pending:
        return (
            f"pending{_where(variant, machine)}: no key trusted here has signed evidence that it "
            f"reproduces its goldens. Run `kiln validate NAME --target {target}` on such a machine, "
            "or pass allow_pending=True"
        )
    return None


def _where(variant: Variant, machine: Machine) -> str:
    """Where evidence has to come from, if not from any machine of the target."""
    where = f" on {machine.arch}" if variant.target.hardware != "exact" and machine.arch else ""
    if variant.version_compatible:
        where += f" with tensorrt {machine.runtime('tensorrt')}"
    return where


def _plugin_reason(variant: Variant, plugins: Collection[str]) -> str | None:
    missing = [plugin for plugin in variant.plugins if plugin not in plugins]
    if not missing:
        return None
    return (
        f"needs the TensorRT plugin {', '.join(missing)}, which is not registered in this process. "
        "Register its creator with tensorrt.get_plugin_registry() before loading (docs/loading.md)"
    )


def _operator_reason(variant: Variant, operators: Collection[str]) -> str | None:
    missing = [operator for operator in variant.operators if operator not in operators]
    if not missing:
        return None
    named = ", ".join(repr(operator) for operator in missing)
    return (
        f"calls {named}, which no bundle may call unasked. Import the library that registers it with torch, "
        f"and pass load(..., operators=[{named}]) if you trust it (docs/loading.md)"
    )


def opens(built: str, installed: str) -> bool:
    """Whether an engine that TensorRT `built` built version-compatible opens with `installed`.

    It does with that version and all later ones of the same major version (NVIDIA's documentation of
    TensorRT, "Version Compatibility"; across major versions APIs are removed).
    """
    old, new = _numbers(built), _numbers(installed)
    return bool(old) and new[:1] == old[:1] and new >= old


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version as numbers: (10, 6, 0) for `10.6.0.post1`."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _runtime_reason(variant: Variant, machine: Machine) -> str | None:
    module = MODULES[variant.target.backend]
    found = machine.runtime(module)
    if module == "torch":
        # A graph is a list of ATen calls, not tied to a torch version; opening it checks each call.
        return None if found else "needs torch, which is not installed here"
    wanted = dict(variant.toolchain.versions).get(module)
    if wanted is None:
        return f"its toolchain names no version of {module}; build it again"
    if found is None:
        return f"needs {module} {wanted}, which is not installed here"
    if found != wanted:
        if not variant.version_compatible:
            return (
                f"needs {module} {wanted}, which built its engines; this machine has {found}. "
                "Install that version, or build the bundle with this one"
            )
        if not opens(wanted, found):
            return (
                f"needs {module} {wanted} or a later {_numbers(wanted)[0]}.x, since {wanted} built its "
                f"engines version-compatible; this machine has {found}. Install such a version, or "
                "build the bundle with this one"
            )
    if machine.runtime("torch") is None:
        return "needs torch with CUDA support as well, which is not installed here"
    return None
