"""Which variants may run where, and why the others may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enginebundle.format.digest import digest_bytes
from enginebundle.format.spec import Target, Toolchain
from enginebundle.format.variant import Variant
from enginebundle.format.verdict import Verdict
from enginebundle.serve.machine import Machine
from enginebundle.serve.selection import Accepted, Rejected, opens, rank
from tests.enginebundle.examples import cpu_variant, engine_variant

BLOB = digest_bytes(b"")
TORCH = ("torch", "2.13.0")
RTX = ("tensorrt_rtx", "1.5.0.114")
GPU = Machine("sm_89", (TORCH, RTX))
LAPTOP = Machine(None, (TORCH,))
VARIANTS = (
    cpu_variant(BLOB, BLOB),
    engine_variant("rtx:sm_80+sm_86+sm_89", BLOB),
    engine_variant("rtx:sm_86+sm_89", BLOB),
    engine_variant("rtx:sm_89", BLOB),
    engine_variant("rtx:sm_120", BLOB),
)
ALL: dict[Target, Verdict] = {variant.target: Verdict("validated") for variant in VARIANTS}


def targets(choices: object) -> list[str]:
    return [str(c.target) for c in choices if isinstance(c, Accepted)]  # type: ignore[attr-defined]


def test_exact_beats_group_beats_cpu() -> None:
    choices = rank(VARIANTS, ALL, GPU)
    assert targets(choices) == [
        "rtx:sm_89",
        "rtx:sm_86+sm_89",
        "rtx:sm_80+sm_86+sm_89",
        "torch:cpu",
    ]
    assert len(choices) == len(VARIANTS)
    assert str(choices[-1]) == "rtx:sm_120: needs a GPU of sm_120; this machine has a GPU of sm_89"


def test_without_a_gpu_only_torch_runs() -> None:
    choices = rank(VARIANTS, ALL, LAPTOP)
    assert targets(choices) == ["torch:cpu"]
    assert "this machine has no CUDA GPU" in str(choices[1])


def test_pending_runs_only_where_allowed_and_failed_never() -> None:
    states: dict[Target, Verdict] = {**ALL, Target.parse("rtx:sm_89"): Verdict("pending")}
    (rejected,) = [c for c in rank(VARIANTS, states, GPU) if c.state == "pending"]
    assert isinstance(rejected, Rejected)
    assert "kiln validate NAME --target rtx:sm_89" in rejected.reason
    assert targets(rank(VARIANTS, states, GPU, allow_pending=True))[0] == "rtx:sm_89"
    states[Target.parse("rtx:sm_89")] = Verdict("failed", "it was wrong")
    choices = rank(VARIANTS, states, GPU, allow_pending=True)
    assert targets(choices)[0] == "rtx:sm_86+sm_89"
    assert any("failed its validation: it was wrong" in str(choice) for choice in choices)


def test_no_state_means_pending() -> None:
    assert targets(rank(VARIANTS, {}, GPU)) == []


def test_the_exact_runtime_is_needed() -> None:
    for runtimes, message in (
        ((TORCH, ("tensorrt_rtx", "1.6.0")), "needs tensorrt_rtx 1.5.0.114, which built"),
        ((TORCH,), "needs tensorrt_rtx 1.5.0.114, which is not installed here"),
        ((RTX,), "needs torch with CUDA support as well"),
    ):
        (choice,) = rank((engine_variant("rtx:sm_89", BLOB),), ALL, Machine("sm_89", runtimes))
        assert isinstance(choice, Rejected)
        assert message in choice.reason
    (choice,) = rank(VARIANTS[:1], ALL, Machine(None, ()))
    assert "needs torch, which is not installed here" in str(choice)


def test_an_engine_s_plugins_must_be_registered_here() -> None:
    plain = engine_variant("rtx:sm_89", BLOB)
    (part,) = plain.parts
    segment = replace(part.segments[0], plugins=("Scan@2@mine", "Gated@1"))
    needy = replace(plain, parts=(replace(part, segments=(segment,)),))
    assert needy.plugins == ("Gated@1", "Scan@2@mine")
    (choice,) = rank((needy,), ALL, GPU, plugins=("Gated@1",))
    assert isinstance(choice, Rejected)
    assert choice.reason.startswith(
        "needs the TensorRT plugin Scan@2@mine, which is not registered"
    )
    assert isinstance(rank((needy,), ALL, GPU, plugins=needy.plugins)[0], Accepted)


TRT = ("tensorrt", "10.6.0.post1")
HOPPER = Machine("sm_90", (TORCH, TRT))


def trt_variant(target: str, compatible: bool = False) -> Variant:
    return replace(engine_variant(target, BLOB, TRT[1]), version_compatible=compatible)


def test_an_engine_for_fewer_gpus_and_versions_comes_first() -> None:
    wanted = ["trt:sm_90", "trt:sm_90_any", "trt:ampere_plus"]
    variants = [trt_variant(target) for target in reversed(wanted)]
    states: dict[Target, Verdict] = {variant.target: Verdict("validated") for variant in variants}
    assert targets(rank(variants, states, HOPPER)) == wanted
    ampere = rank(variants, states, Machine("sm_80", (TORCH, TRT)))
    assert targets(ampere) == ["trt:ampere_plus"]
    turing = rank(variants, states, Machine("sm_75", (TORCH, TRT)))
    assert targets(turing) == []
    assert "needs a GPU of sm_80 or sm_86 or " in str(turing[0])


def test_a_pending_engine_for_more_gpus_says_where_its_evidence_has_to_come_from() -> None:
    for variant, message in (
        (trt_variant("trt:sm_90"), "pending: no key trusted here has signed evidence"),
        (trt_variant("trt:ampere_plus"), "pending on sm_90: no key trusted"),
        (trt_variant("trt:sm_90_any", True), "pending on sm_90 with tensorrt 10.6.0.post1: no key"),
    ):
        (choice,) = rank([variant], {}, HOPPER)
        assert message in str(choice)
        assert f"kiln validate NAME --target {variant.target}" in str(choice)


@pytest.mark.parametrize(
    ("installed", "opens"),
    [
        ("10.6.0.post1", True),
        ("10.6.1", True),
        ("10.15.1.29", True),
        ("10.5.0", False),
        ("9.3.0", False),
        ("11.4.0.106", False),
        ("unknown", False),
    ],
)
def test_a_version_compatible_engine_opens_with_later_versions(installed: str, opens: bool) -> None:
    machine = Machine("sm_90", (TORCH, ("tensorrt", installed)))
    states: dict[Target, Verdict] = {Target.parse("trt:sm_90"): Verdict("validated")}
    (choice,) = rank([trt_variant("trt:sm_90", True)], states, machine)
    assert isinstance(choice, Accepted) == opens
    if not opens:
        assert "needs tensorrt 10.6.0.post1 or a later 10.x" in str(choice)
        assert f"this machine has {installed}. Install such a version" in str(choice)
    (exact,) = rank([trt_variant("trt:sm_90")], states, machine)
    assert isinstance(exact, Accepted) == (installed == TRT[1])


def test_a_target_asked_for_is_the_only_one_and_skips_the_architecture() -> None:
    hopper = Machine("sm_90", (TORCH, RTX))
    wanted = Target.parse("rtx:sm_89")
    assert targets(rank(VARIANTS, ALL, hopper)) == ["torch:cpu"]
    choices = rank(VARIANTS, ALL, hopper, target=wanted)
    assert targets(choices) == ["rtx:sm_89"]
    assert "not the target asked for, rtx:sm_89" in str(choices[1])


@pytest.mark.parametrize("arch", [None, "sm_75"])
def test_choices_do_not_depend_on_the_order_of_variants(arch: str | None) -> None:
    machine = Machine(arch, (TORCH, RTX))
    forward, backward = rank(VARIANTS, ALL, machine), rank(VARIANTS[::-1], ALL, machine)
    assert targets(forward) == targets(backward)


@pytest.mark.parametrize(
    ("variant", "machine", "verdict", "reason"),
    [
        (
            trt_variant("trt:ampere_plus"),
            Machine("sm_75", (TORCH, TRT)),
            Verdict("validated"),
            "needs a GPU of sm_80 or sm_86 or sm_89 or sm_90 or sm_100 or sm_103 or sm_120 or "
            "sm_121; this machine has a GPU of sm_75",
        ),
        (
            engine_variant("rtx:sm_89", BLOB),
            LAPTOP,
            Verdict("validated"),
            "needs a GPU of sm_89; this machine has no CUDA GPU",
        ),
        (
            engine_variant("rtx:sm_89", BLOB),
            GPU,
            Verdict("failed", "y was off"),
            "failed its validation: y was off. Build it again, or look at the evidence with "
            "`python -m enginebundle inspect`",
        ),
        (
            engine_variant("rtx:sm_89", BLOB),
            GPU,
            Verdict("pending"),
            "pending: no key trusted here has signed evidence that it reproduces its goldens. Run "
            "`kiln validate NAME --target rtx:sm_89` on such a machine, or pass allow_pending=True",
        ),
        (
            engine_variant("rtx:sm_89", BLOB),
            Machine("sm_89", (TORCH, ("tensorrt_rtx", "1.6.0"))),
            Verdict("validated"),
            "needs tensorrt_rtx 1.5.0.114, which built its engines; this machine has 1.6.0. "
            "Install that version, or build the bundle with this one",
        ),
        (
            trt_variant("trt:sm_90", True),
            Machine("sm_90", (TORCH, ("tensorrt", "11.0"))),
            Verdict("validated"),
            "needs tensorrt 10.6.0.post1 or a later 10.x, since 10.6.0.post1 built its engines "
            "version-compatible; this machine has 11.0. Install such a version, or build the bundle "
            "with this one",
        ),
        (
            replace(engine_variant("rtx:sm_89", BLOB), toolchain=Toolchain((TORCH,))),
            GPU,
            Verdict("validated"),
            "its toolchain names no version of tensorrt_rtx; build it again",
        ),
        (
            engine_variant("rtx:sm_89", BLOB),
            Machine("sm_89", (RTX,)),
            Verdict("validated"),
            "needs torch with CUDA support as well, which is not installed here",
        ),
    ],
)  # fmt: skip
def test_a_rejection_says_what_is_needed_what_was_found_and_what_would_help(
    variant: Variant, machine: Machine, verdict: Verdict, reason: str
) -> None:
    (choice,) = rank((variant,), {variant.target: verdict}, machine)
    assert choice == Rejected(variant.target, verdict.state, reason)
    assert str(choice) == f"{variant.target}: {reason}"


def test_a_missing_plugin_is_named_with_how_to_register_it() -> None:
    plain = engine_variant("rtx:sm_89", BLOB)
    segment = replace(plain.parts[0].segments[0], plugins=("A@1", "B@1"))
    needy = replace(plain, parts=(replace(plain.parts[0], segments=(segment,)),))
    (choice,) = rank((needy,), ALL, GPU)
    assert isinstance(choice, Rejected)
    assert choice.reason == (
        "needs the TensorRT plugin A@1, B@1, which is not registered in this process. Register its "
        "creator with tensorrt.get_plugin_registry() before loading (docs/loading.md)"
    )


def test_an_operator_that_nobody_allowed_is_named_with_how_to_allow_it() -> None:
    plain = cpu_variant(BLOB, BLOB)
    called = ("mine.scan.default", "mine.gate.default", "theirs.hash.default")
    segment = replace(plain.parts[0].segments[0], operators=called)
    needy = replace(plain, parts=(replace(plain.parts[0], segments=(segment,)),))
    (choice,) = rank((needy,), ALL, LAPTOP, operators=("mine.scan.default",))
    assert isinstance(choice, Rejected)
    assert choice.reason == (
        "calls 'mine.gate.default', 'theirs.hash.default', which no bundle may call unasked. Import the "
        "library that registers it with torch, and pass load(..., operators=['mine.gate.default', "
        "'theirs.hash.default']) if you trust it (docs/loading.md)"
    )
    assert isinstance(rank((needy,), ALL, LAPTOP, operators=called)[0], Accepted)
    assert isinstance(rank((needy,), ALL, LAPTOP, operators=(*called, "other"))[0], Accepted)
    assert isinstance(rank((needy,), ALL, LAPTOP)[0], Rejected)
    assert isinstance(rank((plain,), ALL, LAPTOP)[0], Accepted)


def test_an_accepted_variant_tells_its_state() -> None:
    (choice,) = rank(VARIANTS[3:4], ALL, GPU)
    assert str(choice) == "rtx:sm_89: accepted (validated)"
    (choice,) = rank(VARIANTS[3:4], {}, GPU, allow_pending=True)
    assert str(choice) == "rtx:sm_89: accepted (pending)"


def test_of_engines_alike_the_validated_one_and_the_one_for_its_version_come_first() -> None:
    """A wider one that is validated still comes after a narrow one that may run."""
    wide, narrow = engine_variant("rtx:sm_86+sm_89", BLOB), engine_variant("rtx:sm_89", BLOB)
    states: dict[Target, Verdict] = {wide.target: Verdict("validated")}
    choices = rank((wide, narrow), states, GPU, allow_pending=True)
    assert targets(choices) == ["rtx:sm_89", "rtx:sm_86+sm_89"]
    other = engine_variant("rtx:sm_80+sm_89", BLOB)
    assert targets(rank((other, wide), states, GPU, allow_pending=True))[0] == "rtx:sm_86+sm_89"
    exact, compatible = trt_variant("trt:sm_90"), trt_variant("trt:sm_90_any", True)
    states = {exact.target: Verdict("validated"), compatible.target: Verdict("validated")}
    assert targets(rank((compatible, exact), states, HOPPER)) == ["trt:sm_90", "trt:sm_90_any"]


def test_without_a_gpu_pending_evidence_may_come_from_anywhere() -> None:
    wanted = Target.parse("trt:ampere_plus")
    machine = Machine(None, (TORCH, TRT))
    (choice,) = rank((trt_variant("trt:ampere_plus"),), {}, machine, target=wanted)
    assert str(choice).startswith("trt:ampere_plus: pending: no key trusted here")


def test_an_engine_of_no_version_opens_nowhere() -> None:
    assert not opens("unknown", "unknown")
    assert not opens("unknown", "10.6.0")
    assert opens("10", "10.0")


def test_of_engines_alike_in_all_else_the_name_decides() -> None:
    one, other = (engine_variant(f"rtx:{arch}+sm_89", BLOB) for arch in ("sm_80", "sm_86"))
    states: dict[Target, Verdict] = {v.target: Verdict("validated") for v in (one, other)}
    for order in ((one, other), (other, one)):
        assert targets(rank(order, states, GPU)) == ["rtx:sm_80+sm_89", "rtx:sm_86+sm_89"]


def test_a_build_of_the_same_release_opens_too() -> None:
    assert opens("10.6.0", "10.6.0.post1")
    (choice,) = rank(VARIANTS[:1], ALL, Machine(None, ()))
    assert str(choice) == "torch:cpu: needs torch, which is not installed here"
