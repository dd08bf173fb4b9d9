"""Capture: what the Graph says about names, sizes, outputs, weights, origins and refusals."""

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._sympy import functions as torch_sympy

from compiler.lower import lower
from compiler.lower.capture import CaptureRefused, capture
from compiler.program import Program, run
from compiler.trace.export import trace
from compiler.trace.symbols import Symbols
from enginebundle.format import dims
from enginebundle.format.graph import SYM_OPS, Ref
from enginebundle.format.spec import Profile, TensorSpec
from tests.compiler import small_models as models
from tests.compiler.small_models import profile, spec

F = "float32"
BATCH = (profile(b=(1, 2, 8)),)


def program(
    model: nn.Module, inputs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...] = BATCH
) -> Program:
    return capture(lower(trace(model.eval(), inputs, profiles)), inputs)


def test_derived_sizes_are_spelled_in_the_users_symbols() -> None:
    inputs = (spec("x", F, "b", "2*s"), spec("y", F, "b", "s"))
    graph = program(models.Doubled(), inputs, (profile(b=(1, 2, 8), s=(1, 8, 64)),)).graph
    assert graph.inputs == inputs
    assert [(o.name, o.shape) for o in graph.outputs] == [("sum", ("b", "s")), ("flat", ("2*b*s",))]


def test_outputs_of_any_structure() -> None:
    made = program(models.Structured(), (spec("x", F, "b", 4),))
    names = [o.name for o in made.graph.outputs]
    assert names == ["hidden_0", "hidden_1", "rows", "same", "table"]
    assert made.graph.outputs[2] == TensorSpec("rows", "int64", ())
    assert made.graph.returns[3] == "x"
    x = torch.randn(3, 4)
    got = run(made, {"x": x})
    assert got["rows"] == 3
    assert torch.equal(got["same"], x)
    assert torch.equal(got["hidden_0"], x * 2)
    assert got["table"].tolist() == [0, 1, 2, 3]


def test_single_and_tuple_outputs() -> None:
    one = program(nn.ReLU(), (spec("input", F, "b", 4),))
    assert [o.name for o in one.graph.outputs] == ["output"]
    model, inputs, profiles = models.build("lstm")
    three = program(model, inputs, profiles)
    assert [o.name for o in three.graph.outputs] == ["output_0", "output_1_0", "output_1_1"]


def test_multiple_results_are_one_node_without_getitem() -> None:
    model, inputs, profiles = models.build("lstm")
    graph = program(model, inputs, profiles).graph
    assert not any("getitem" in node.op for node in graph.nodes)
    (node,) = [n for n in graph.nodes if n.op == "aten.lstm.input"]
    assert [v.name for v in node.outputs] == ["lstm_1.0", "lstm_1.1", "lstm_1.2"]
    assert graph.returns == ("lstm_1.0", "lstm_1.1", "lstm_1.2")


def test_weights_carry_state_dict_names_and_equal_content_once() -> None:
    made = program(models.Tied(), (spec("x", F, "b", 8),))
    assert len(made.graph.weights) == 1
    assert made.weights.keys() == {made.graph.weights[0].name}
    assert made.graph.weights[0].name in ("one.weight", "two.weight", "copy.weight")
    model = models.Mlp()
    assert {w.name for w in program(model, (spec("x", F, "b", 8),)).graph.weights} == {
        name for name, _ in model.named_parameters()
    }


def test_a_changed_weight_changes_the_digest() -> None:
    inputs = (spec("x", F, "b", 8),)
    torch.manual_seed(0)
    model = models.Mlp()
    before = program(model, inputs).digest
    assert program(model, inputs).digest == before
    with torch.no_grad():
        model.norm.bias[1] += 1e-6
    assert program(model, inputs).digest != before


def test_origins_name_the_users_line_and_module() -> None:
    graph = program(models.Mlp(), (spec("x", F, "b", 8),)).graph
    node = next(n for n in graph.nodes if n.op == "aten.linear.default")
    assert node.origin.file == "tests/compiler/small_models.py"
    assert node.origin.source == "result: torch.Tensor = self.norm(self.layers(x))"
    assert (node.origin.module, node.origin.module_class) == ("layers.0", "Mlp/Sequential/Linear")


def test_origins_of_libraries_are_relative_too() -> None:
    exported, inputs = models.traced("bert")
    files = {n.origin.file for n in capture(lower(exported), inputs).graph.nodes}
    assert "transformers/models/bert/modeling_bert.py" in files
    assert not any(file.startswith("/") for file in files)


def test_statistics_handed_on_as_they_came_are_no_mutation() -> None:
    class Norm(torch.nn.Module):
        def forward(self, x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
            return torch.ops.aten._native_batch_norm_legit.default(
                x, None, None, mean, var, False, 0.1, 1e-5
            )[0]

    inputs = tuple(
        TensorSpec(n, "float32", s) for n, s in (("x", (2, 3)), ("mean", (3,)), ("var", (3,)))
    )
    exported = torch.export.export(Norm(), (torch.randn(2, 3), torch.zeros(3), torch.ones(3)))
    assert len(capture(lower(exported), inputs).graph.outputs) == 1


def test_a_counter_that_no_output_reads_is_dropped() -> None:
    made = program(models.Counter(read=False), (spec("x", F, "b", 4),))
    assert [node.op for node in made.graph.nodes] == ["aten.add.Tensor"]
    assert not made.weights


def test_state_between_calls_is_refused() -> None:
    with pytest.raises(CaptureRefused) as caught:
        program(models.Counter(read=True), (spec("x", F, "b", 4),))
    assert caught.value.code == "mutation"
    assert "forward changes 'calls' in place at tests/compiler/small_models.py:" in str(
        caught.value
    )


def test_an_input_that_is_written_is_an_output_too() -> None:
    class Writes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(2)
            return x + 1

    made = program(Writes(), (spec("x", F, "b", 4),))
    assert [(o.name, o.shape) for o in made.graph.outputs] == [
        ("output", ("b", 4)), ("x_after", ("b", 4)),
    ]  # fmt: skip
    x = torch.ones(3, 4)
    got = run(made, {"x": x})
    assert (got["output"] == 3).all()
    assert (got["x_after"] == 2).all()
    assert (x == 1).all()


def test_data_dependent_sizes_get_symbols_of_their_own() -> None:
    class Picks(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x[x > 0], torch.nonzero(x)

    made = program(Picks(), (spec("x", F, "u0", 4),), (profile(u0=(1, 2, 8)),))
    assert [o.shape for o in made.graph.outputs] == [("u1",), ("u2", 2)]
    x = torch.tensor([[1.0, -1, 2, 0]])
    assert run(made, {"x": x})["output_0"].tolist() == [1, 2]


def test_shape_arithmetic_becomes_sym_calls() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n = x.shape[1]
            return x[:, : n // 2 + n % 3].reshape(-1) + max(n, 4)

    made = program(Halves(), (spec("x", F, "b", "s"),), (profile(b=(1, 2, 8), s=(6, 8, 64)),))
    used = {n.op.removeprefix("sym.") for n in made.graph.nodes if n.op.startswith("sym.")}
    assert used <= set(SYM_OPS)
    assert {"floordiv", "mod"} <= used
    x = torch.randn(2, 11)
    assert torch.equal(run(made, {"x": x})["output"], Halves()(x))


def test_names_collide_with_nothing() -> None:
    class Names(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add = nn.Parameter(torch.ones(4))
            self.relu = nn.Parameter(torch.ones(4))

        def forward(self, relu: torch.Tensor) -> torch.Tensor:
            return torch.relu(relu * self.relu) + self.add

    made = program(Names(), (spec("relu", F, "b", 4),))
    names = ["relu", *made.weights, *(v.name for n in made.graph.nodes for v in n.outputs)]
    assert len(names) == len(set(names))
    assert run(made, {"relu": torch.ones(1, 4)})["output"].tolist() == [[2, 2, 2, 2]]


def test_every_reference_is_a_tensor_or_a_number() -> None:
    exported, inputs = models.traced("gpt2")
    graph = capture(lower(exported), inputs).graph
    values = {v.name: v for n in graph.nodes for v in n.outputs}
    assert all(v.dtype != "none" for v in values.values())
    assert any(isinstance(a, Ref) for n in graph.nodes for a in n.args)


_LEAVES = st.sampled_from(["a", "b", "c"]) | st.integers(1, 9)


def _combine(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    operation = st.sampled_from(["+", "-", "*", "//", "%", "max", "min"])
    return st.tuples(operation, children, children)


@settings(max_examples=200, deadline=None)
@given(st.recursive(_LEAVES, _combine, max_leaves=6))
def test_printed_sizes_mean_what_torch_means(tree: object) -> None:
    """Any expression torch builds prints as one of equal value at every assignment."""
    roots = {
        name: sympy.Symbol(f"s{i}", integer=True, positive=True) for i, name in enumerate("abc")
    }
    operations = {
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "//": lambda x, y: torch_sympy.FloorDiv(x, torch_sympy.Max(y, 1)),
        "%": lambda x, y: torch_sympy.PythonMod(x, torch_sympy.Max(y, 1)),
        "max": torch_sympy.Max,
        "min": torch_sympy.Min,
    }

    def build(node: object) -> sympy.Expr:
        if isinstance(node, tuple):
            op, left, right = node
            return operations[op](build(left), build(right))
        return roots[node] if isinstance(node, str) else sympy.Integer(node)

    expr = build(tree)
    symbols = Symbols((roots[name], name) for name in "abc")
    printed = symbols.dim(expr)
    for a, b, c in ((1, 1, 1), (2, 3, 5), (7, 4, 1), (13, 2, 64)):
        want = expr.subs({roots["a"]: a, roots["b"]: b, roots["c"]: c})
        assert dims.evaluate(printed, {"a": a, "b": b, "c": c}) == int(want), (expr, printed)
