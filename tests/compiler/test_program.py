"""Programs: into the store and back, and the same digest from two processes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compiler.lower import lower
from compiler.lower.capture import capture
from compiler.program import Program, load, run, save, tensor_bytes, weight_of
from enginebundle.errors import IntegrityError
from enginebundle.format.digest import digest_bytes
from enginebundle.format.graph import Graph, Node, Ref, Value
from enginebundle.format.spec import TensorSpec
from enginebundle.storage.store import Store
from tests.compiler import small_models as models


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def program(name: str) -> Program:
    exported, inputs = models.traced(name)
    return capture(lower(exported), inputs)


def test_save_and_load(store: Store) -> None:
    made = program("gpt2")
    graph, weights = save(made, store)
    again = load(store, graph, weights)
    assert again.digest == made.digest
    assert again.graph == made.graph
    assert [n.origin for n in again.graph.nodes] == [n.origin for n in made.graph.nodes]
    given = {n: torch.ones(2, 5, dtype=torch.int64) for n in ("input_ids", "attention_mask")}
    assert torch.equal(run(made, given)["logits"], run(again, given)["logits"])
    assert save(again, store) == (graph, weights)


def weights_only(tensors: dict[str, torch.Tensor]) -> Program:
    weights = tuple(weight_of(name, tensor) for name, tensor in tensors.items())
    spec = TensorSpec("x", "float32", (1,))
    node = Node("aten.neg.default", (Ref("x"),), (), (Value("neg", "float32", (1,)),))
    return Program(Graph((spec,), weights, (node,), (replace(spec, name="y"),), ("neg",)), tensors)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "float16", "bfloat16", "float64", "float8_e4m3fn"]
)
def test_every_kind_of_weight(store: Store, dtype: str) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    made = weights_only({"w": tensor})
    again = load(store, *save(made, store))
    assert again.digest == made.digest
    assert torch.equal(tensor_view(again.weights["w"]), tensor_view(tensor))


def tensor_view(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


def test_views_and_shared_storage_are_stored_apart(store: Store) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "base": base,
        "rows": base[1:],
        "turned": base.t(),
        "empty": base[:0],
        "one": base[0, 0],
    }
    made = weights_only(tensors)
    again = load(store, *save(made, store))
    assert again.digest == made.digest
    for name, tensor in tensors.items():
        assert torch.equal(again.weights[name], tensor)
        assert again.weights[name].is_contiguous()


def test_weight_digest_is_of_the_bytes_in_c_order() -> None:
    turned = torch.arange(4, dtype=torch.int32).reshape(2, 2).t()
    assert bytes(tensor_bytes(turned)) == b"".join(n.to_bytes(4, "little") for n in (0, 2, 1, 3))
    assert weight_of("w", turned).digest == digest_bytes(tensor_bytes(turned))


def test_weights_of_another_program_are_refused(store: Store) -> None:
    graph, _ = save(weights_only({"w": torch.ones(2)}), store)
    _, other = save(weights_only({"w": torch.zeros(2)}), store)
    with pytest.raises(IntegrityError, match="weight 'w' differs from its entry in graph"):
        load(store, graph, other)
    _, renamed = save(weights_only({"v": torch.ones(2)}), store)
    with pytest.raises(IntegrityError, match="names differ"):
        load(store, graph, renamed)


_DIGEST = """
import sys
from compiler.lower.capture import capture
from compiler.lower import lower
from tests.compiler import small_models as models
for name in sys.argv[1:]:
    exported, inputs = models.traced(name)
    print(capture(lower(exported, precision="fp16"), inputs).digest)
"""


def test_another_process_gives_the_same_digest() -> None:
    names = ["lstm", "bert"]
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", _DIGEST, *names],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'manifests'}", "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(zip(names, result.stdout.split(), strict=True))
    for name in reversed(names):
        exported, inputs = models.traced(name)
        assert capture(lower(exported, precision="fp16"), inputs).digest == found[name]


def test_two_traces_in_one_process_give_one_digest() -> None:
    from compiler.trace.export import trace

    model, inputs, profiles = models.build("bert")
    assert capture(lower(trace(model, inputs, profiles)), inputs).digest == program("bert").digest


def test_bytes_of_a_lone_element_with_any_stride() -> None:
    number = torch.tensor(1.5)
    assert bytes(tensor_bytes(number.expand(1))) == bytes(tensor_bytes(number))
