"""Faults of full TensorRT itself, each shown by an ONNX model through TensorRT's own parser.

    python benchmarks/gpu_faults.py [NAME ...]

On a machine with a GPU, TensorRT and the `onnx` package. A row of another benchmark that is not right
may be TensorRT's own fault only if it stands here: the smallest ONNX model that shows it, without any of
our code. What is right is what the reference evaluator of the `onnx` package computes. Writes
benchmarks/results/gpu_faults.json; the exit code is 1 if a fault no longer shows, so that what works
around it can go.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy  # noqa: E402

from benchmarks import results  # noqa: E402

Feeds = Mapping[str, numpy.ndarray[Any, Any]]
NEAR = 1e-3
"""The largest relative L2 distance of an answer that is right; no fault here is that small."""


@dataclass(frozen=True)
class Fault:
    """What TensorRT gets wrong. `make` gives an ONNX model and what to feed it."""

    says: str
    make: Callable[[], tuple[Any, Feeds]]
    rows: tuple[str, ...] = ()
    """The rows of other benchmarks that it explains: `family/case`, or `model:NAME:WAY`."""


def relu_of_nan(dtype: Any) -> tuple[Any, Feeds]:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(numpy.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", kind, [4])],
        [helper.make_tensor_value_info("y", kind, [4])],
    )
    return _model(graph), {"x": numpy.array([-1.0, 2.0, numpy.nan, 0.5], dtype)}


def sum_with_constant() -> tuple[Any, Feeds]:
    """Rows of an attention, projected, plus a number for each row of each batch."""
    draw = numpy.random.default_rng(0)
    weight, added = _draw(draw, 32, 32), _draw(draw, 2, 7, 32)
    nodes = [
        _node("MatMul", "weights values", "mixed"),
        _node("Transpose", "mixed", "turned", perm=(0, 2, 1, 3)),
        _node("Reshape", "turned sizes", "rows"),
        _node("MatMul", "rows weight", "projected"),
        _node("Add", "projected added", "y"),
    ]
    held = {"sizes": numpy.array([2, 7, 32]), "weight": weight, "added": added}
    feeds = {"weights": _draw(draw, 2, 4, 7, 7), "values": _draw(draw, 2, 4, 7, 8)}
    return _written(nodes, held, feeds, (2, 7, 32)), feeds


def turned_products() -> tuple[Any, Feeds]:
    """x + (a^T x b - c^T x d) of x = input @ weight, with the products from the left written by turning."""
    draw = numpy.random.default_rng(0)
    nodes = [_node("MatMul", "given weight", "x")]
    for n, (left, right) in enumerate(("ab", "cd")):
        nodes += [
            _node("Transpose", "x", f"turned{n}", perm=(0, 2, 1)),
            _node("MatMul", f"turned{n} {left}", f"made{n}"),
            _node("Transpose", f"made{n}", f"back{n}", perm=(0, 2, 1)),
            _node("MatMul", f"back{n} {right}", f"part{n}"),
        ]
    nodes += [_node("Sub", "part0 part1", "apart"), _node("Add", "x apart", "y")]
    held = {name: _draw(draw, 1, n, n) for name, n in (("a", 8), ("b", 32), ("c", 8), ("d", 32))}
    feeds = {"given": _draw(draw, 2, 8, 32)}
    return _written(nodes, held | {"weight": _draw(draw, 1, 32, 32)}, feeds, (2, 8, 32)), feeds


def from_file(name: str) -> tuple[Any, Feeds]:
    """What gpu_layers.py wrote of a model, with random numbers for its inputs."""
    import onnx

    model = onnx.load(Path(__file__).parent / "faults" / f"{name}.onnx")
    draw = numpy.random.default_rng(0)
    inputs = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input}
    return model, {n: _draw(draw, *(d.dim_value for d in dims)) for n, dims in inputs.items()}


def _draw(draw: Any, *shape: int) -> Any:
    return draw.standard_normal(shape, numpy.float32)


def _node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _written(nodes: Any, held: Feeds, feeds: Feeds, shape: tuple[int, ...]) -> Any:
    """A model of float32 inputs, with the output `y`."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, shape: tuple[int, ...]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [value(name, array.shape) for name, array in feeds.items()]
    constants = [numpy_helper.from_array(array, name) for name, array in held.items()]
    return _model(helper.make_graph(nodes, "fault", inputs, [value("y", shape)], constants))


def _model(graph: Any) -> Any:
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


FAULTS = {
    "relu-nan": Fault(
        "ReLU makes 0 of NaN", lambda: relu_of_nan(numpy.float32), ("activation/aten.relu.default",)
    ),
    "relu-nan-half": Fault(
        "ReLU makes 0 of NaN",
        lambda: relu_of_nan(numpy.float16),
        ("activation/aten.relu.default-half",),
    ),
    "sum-with-constant": Fault(
        "a constant of a sum keeps its axes where the other operand's are moved; network/copies.py "
        "leaves out copies for a batch, and a batch of 1 has nothing to move",
        sum_with_constant,
    ),
    "turned-products": Fault(
        "axes are mistaken where two products of one tensor meet; network/turned_products.py writes "
        "them without turns",
        turned_products,
    ),
    "perceiver": Fault(
        "the scores of an attention with one head and one row, behind another attention; "
        "network/single_rows.py writes them as a sum of elementwise products",
        lambda: from_file("perceiver-dynamic"),
    ),
}


def show(fault: Fault) -> dict[str, Any]:
    """`shows` is whether TensorRT's answer is wrong, or there is none."""
    import tensorrt as trt
    import torch
    from onnx.reference import ReferenceEvaluator

    from tests.gpu.execute import execute

    model, feeds = fault.make()
    names = [output.name for output in model.graph.output]
    want = dict(zip(names, ReferenceEvaluator(model).run(names, dict(feeds)), strict=True))
    row: dict[str, Any] = {"says": fault.says, "rows": fault.rows}
    given = {name: torch.from_numpy(value) for name, value in feeds.items()}
    try:
        found = execute(trt, engine(trt, model, given), given)
    except RuntimeError as error:
        return row | {"shows": str(error).startswith("not built"), "detail": str(error)}
    far = {name: apart(found[name].numpy(), want[name]) for name in names}
    worst = max(far, key=lambda name: far[name])
    told = {"got": str(found[worst].numpy())[:200], "expected": str(want[worst])[:200]}
    return row | {"shows": far[worst] > NEAR, "l2": far[worst]} | told


def engine(trt: Any, model: Any, feeds: Mapping[str, Any], level: int | None = None) -> bytes:
    """What TensorRT's own parser and builder make of the model. RuntimeError if nothing."""
    from compiler.build.builder import process_builder

    builder, log = process_builder(trt)
    log.lines.clear()
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(model.SerializeToString()):
        why = "; ".join(str(parser.get_error(n)) for n in range(parser.num_errors))
        raise RuntimeError(f"not parsed: {why}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if level is not None:
        config.builder_optimization_level = level
    profile = builder.create_optimization_profile()
    for name, value in feeds.items():
        profile.set_shape(name, tuple(value.shape), tuple(value.shape), tuple(value.shape))
    config.add_optimization_profile(profile)
    made = builder.build_serialized_network(definition, config)
    if made is None:
        raise RuntimeError(f"not built{log.quote()}")
    return bytes(made)


def apart(got: Any, want: Any) -> float:
    """The relative L2 distance; infinite where one is NaN and the other is not."""
    got, want = got.astype(numpy.float64), want.astype(numpy.float64)
    if (numpy.isnan(got) != numpy.isnan(want)).any():
        return float("inf")
    got, want = numpy.nan_to_num(got), numpy.nan_to_num(want)
    return float(numpy.linalg.norm(got - want) / max(float(numpy.linalg.norm(want)), 1e-30))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*FAULTS, []], metavar="NAME")
    options = parser.parse_args()
    rows = {}
    for name in options.names or FAULTS:
        rows[name] = show(FAULTS[name])
        print(name, rows[name], flush=True)
    if not options.names:
        results.write("gpu_faults", {"gpu": results.gpu(), "faults": rows}, show=False)
    return 0 if all(row["shows"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
