"""From an exported program to a Program: a frozen Graph and its weights.

    capture(exported, inputs) -> Program
    structure(exported) -> how its outputs stood together in forward's result

An input that forward writes into is one more output, its value after the call: `x_after`. Values are named
here, after the operators and their order, so that the same model traced twice gives the same digest.
Sizes are written in the user's symbols (compiler/trace/symbols.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from compiler.lower.calls import SYM_FUNCTIONS, Calls, CaptureRefused
from compiler.program import Program, weight_of
from compiler.trace.arguments import user_inputs
from compiler.trace.guards import input_symbols
from compiler.trace.names import unused
from compiler.trace.origin import origin_of
from compiler.trace.outputs import named_leaves, structure_of
from compiler.trace.written import name_after, written_buffers, written_inputs
from enginebundle.format.graph import Argument, Graph, Node, Ref, Value, Weight, Word
from enginebundle.format.spec import TensorSpec
from enginebundle.format.structure import Tree

__all__ = ["SYM_FUNCTIONS", "CaptureRefused", "capture", "structure"]


def capture(exported: ExportedProgram, inputs: tuple[TensorSpec, ...]) -> Program:
    """Read the whole program; `inputs` are the specs it was traced with. CaptureRefused."""
    return _Capture(exported, inputs).program()


def structure(exported: ExportedProgram) -> Tree:
    """The outputs as forward returned them; None if that was a dict of them by name."""
    return structure_of(_result(exported))


def _result(exported: ExportedProgram) -> Any:
    """Forward's result, with a node or a number in place of each tensor."""
    specs = exported.graph_signature.output_specs
    (output,) = [n for n in exported.graph.nodes if n.op == "output"]
    leaves = [
        leaf
        for spec, leaf in zip(specs, output.args[0], strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]
    return pytree.tree_unflatten(leaves, exported.call_spec.out_spec)


class _Capture:
    def __init__(self, exported: ExportedProgram, inputs: tuple[TensorSpec, ...]) -> None:
        self.exported = exported
        self.inputs = inputs
        self.symbols = input_symbols(exported, inputs)
        self.calls = Calls(self.symbols, exported.graph_module)
        self.values = self.calls.values
        self.weights: dict[str, Weight] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def program(self) -> Program:
        returned = self._returned()
        for spec, node in user_inputs(self.exported, self.inputs):
            self.calls.taken.add(spec.name)
            self.values[node] = (Value(spec.name, spec.dtype, spec.shape),)
        needed = self._needed([node for _, node in returned if isinstance(node, torch.fx.Node)])
        self._read_weights(needed)
        for node in self.exported.graph.nodes:
            if node.op == "call_function" and node in needed:
                self.calls.read(node)
        outputs, returns = [], []
        for name, leaf in returned:
            value = self._output(name, leaf)
            outputs.append(TensorSpec(name, value.dtype, value.shape))
            returns.append(value.name)
        graph = Graph(
            self.inputs,
            tuple(self.weights.values()),
            tuple(self.calls.nodes),
            tuple(outputs),
            tuple(returns),
        )
        return Program(graph, self.tensors)

    def _returned(self) -> list[tuple[str, Any]]:
        """(name, node or number) of each output that is not None, and then of each input that forward
        writes into: its value after the call. Refuses state that is kept between calls."""
        returned = named_leaves(_result(self.exported))
        taken = {name for name, _ in returned}
        for name, node in written_inputs(self.exported, self.inputs):
            returned.append((name_after(name, taken), node))
        self._refuse_state([leaf for _, leaf in returned if isinstance(leaf, torch.fx.Node)])
        return returned

    def _refuse_state(self, returned: list[torch.fx.Node]) -> None:
        """Refuse a buffer that forward writes if its old value reaches a result. One that forward never
        reads, such as a counter, changes nothing."""
        needed = self._needed(returned)
        holders = {n.name: n for n in self.exported.graph.nodes if n.op == "placeholder"}
        names = {s.target: s.arg.name for s in self.exported.graph_signature.input_specs}
        for target, update in written_buffers(self.exported).items():
            if holders[names[target]] in needed:
                raise CaptureRefused(
                    "mutation",
                    f"forward changes {target!r} in place at {origin_of(update)}; "
                    "a compiled model keeps no state between calls",
                    "return the new value as an output and take the old one as an input",
                )

    def _needed(self, roots: list[torch.fx.Node]) -> set[torch.fx.Node]:
        """Every node that the roots depend on."""
        found: set[torch.fx.Node] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(node.all_input_nodes)
        return found

    def _read_weights(self, needed: set[torch.fx.Node]) -> None:
        """Parameters, buffers and constants that are used; equal content is stored once.

        Vectors of one repeated number are not: biases and scales start as such and differ once they
        are trained, and the graph of the trained model has to be the same.
        """
        holders = {n.name: n for n in self.exported.graph.nodes if n.op == "placeholder"}
        seen: dict[tuple[str, tuple[int, ...], str], Value] = {}
        for spec in self.exported.graph_signature.input_specs:
            node = holders[spec.arg.name]
            if spec.kind == InputKind.USER_INPUT or node not in needed:
                continue
            target = spec.target or spec.arg.name
            state, constants = self.exported.state_dict, self.exported.constants
            tensor = state[target] if target in state else constants.get(target)
            if not isinstance(tensor, torch.Tensor):
                raise CaptureRefused(
                    "operator",
                    f"{target!r} is a {type(tensor).__name__}; expected a parameter, a buffer or "
                    "a constant tensor",
                    "keep script objects and tokens out of forward",
                )
            tensor = tensor.detach()
            weight = weight_of(target, tensor)
            key = (weight.spec.dtype, tuple(tensor.shape), weight.digest)
            if key not in seen or _is_initial(tensor):
                weight = weight_of(unused(target, self.calls.taken), tensor, weight.digest)
                self.weights[weight.name] = weight
                self.tensors[weight.name] = tensor
                seen[key] = Value(weight.name, weight.spec.dtype, weight.spec.shape)
            self.values[node] = (seen[key],)

    def _output(self, name: str, leaf: Any) -> Value:
        """The value that an output returns; a number becomes a tensor of rank 0."""
        value = (
            self.values[leaf][0] if isinstance(leaf, torch.fx.Node) else self.calls.value("", leaf)
        )
        if value.is_tensor:
            return value
        kinds = {"symint": "int64", "symfloat": "float32", "symbool": "bool"}
        if value.dtype not in kinds:
            raise CaptureRefused(
                "output",
                f"output {name!r} is a {type(leaf).__name__}; expected a tensor or a number",
                "return tensors only",
            )
        argument: Argument = Ref(value.name) if isinstance(leaf, torch.fx.Node) else leaf
        scalar = Value(self.calls.numbered("scalar_tensor"), kinds[value.dtype])
        dtype = (("dtype", Word("dtype", scalar.dtype)),)
        self.calls.nodes.append(Node("aten.scalar_tensor.default", (argument,), dtype, (scalar,)))
        return scalar


def _is_initial(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a vector of floats, all of them the same number."""
    flat = tensor.reshape(-1) if max(tensor.shape, default=0) == tensor.numel() > 1 else None
    return flat is not None and flat.is_floating_point() and bool((flat == flat[0]).all())
