"""What forward writes into: inputs and buffers whose values torch.export hands back as results.

written_inputs(exported, inputs) -> ((name, node of the value after the call), ...)
written_buffers(exported)        -> {name: node}
name_after("x", taken)           -> "x_after": the output that a program returns it as
reshaped(exported, inputs)       -> a Complaint where forward changes an input's own shape
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from compiler.trace.arguments import user_inputs
from compiler.trace.complaint import Complaint
from compiler.trace.names import unused
from compiler.trace.origin import origin_of
from enginebundle.format.spec import TensorSpec


def name_after(name: str, taken: set[str]) -> str:
    """What the value of an input after the call is named as an output; added to `taken`."""
    return unused(f"{name}_after", taken)


def written_inputs(
    exported: ExportedProgram, inputs: tuple[TensorSpec, ...]
) -> tuple[tuple[str, torch.fx.Node], ...]:
    """The inputs that the program changes, in their order, with the nodes of their new values."""
    updates = dict(_updates(exported, OutputKind.USER_INPUT_MUTATION))
    return tuple(
        (spec.name, updates[node.name])
        for spec, node in user_inputs(exported, inputs)
        if node.name in updates
    )


def written_buffers(exported: ExportedProgram) -> dict[str, torch.fx.Node]:
    """The buffers and parameters that the program changes, by name, with the nodes of their new values."""
    kinds = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION)
    return {name: node for kind in kinds for name, node in _updates(exported, kind)}


def reshaped(exported: ExportedProgram, inputs: tuple[TensorSpec, ...]) -> Complaint | None:
    """The first call that gives an input itself another size, layout or storage: `x.resize_(2, 8)`."""
    holders = {node: spec.name for spec, node in user_inputs(exported, inputs)}
    for node in exported.graph.nodes:
        moves = torch.Tag.inplace_view in getattr(node.target, "tags", ())
        detaches = node.target is torch.ops.aten.detach_.default
        if moves and not detaches and node.args[0] in holders:
            return reshapes(holders[node.args[0]], f" at {origin_of(node)}")
    return None


def reshapes(name: str, place: str = "") -> Complaint:
    """What to say of such an input."""
    return Complaint(
        "reshaped",
        f"forward changes the shape of its input {name!r} itself{place}: the caller would see it, and an "
        "engine's inputs keep theirs",
        "make a new tensor: x.reshape(...), x.transpose(...), or torch.empty(...) of that size",
    )


def _updates(exported: ExportedProgram, kind: OutputKind) -> Iterator[tuple[str, torch.fx.Node]]:
    """The targets of such results that are not handed on as they came."""
    signature = exported.graph_signature
    holders = {
        spec.arg.name if spec.kind == InputKind.USER_INPUT else spec.target: spec.arg.name
        for spec in signature.input_specs
    }
    (output,) = [n for n in exported.graph.nodes if n.op == "output"]
    for spec, leaf in zip(signature.output_specs, output.args[0], strict=True):
        if spec.kind == kind and leaf.name != holders[spec.target]:
            yield spec.target or "", leaf
