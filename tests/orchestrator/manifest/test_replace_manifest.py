"""`replace:` in a manifest: read, checked, carried to the steps, and named in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.replace.replacement import Replacement
from enginebundle.format.digest import parse_json
from enginebundle.storage.store import Store
from orchestrator.manifest.errors import ManifestError
from orchestrator.manifest.load import load
from orchestrator.manifest.model import Model
from orchestrator.plan.installed import installed
from orchestrator.plan.tasks import tasks
from orchestrator.run.publish import assemble
from orchestrator.worker.steps import STEPS

EXAMPLES = Path(__file__).parents[2] / "compiler" / "replace" / "replace_examples.py"
MANIFEST = """
models:
  - name: m
    source: {{ entrypoint: "replace_examples:{model}" }}
    inputs: {{ x: {{ dtype: float32, shape: [b, {shape}] }} }}
    profiles: {{ p: {{ b: [1, 2, 4] }} }}
    targets: ["{target}"]
    min_nodes: 1
    replace:
      - {replace}
"""


def manifest(
    folder: Path, replace: str, model: str = "plain", target: str = "rtx:sm_89", shape: str = "8"
) -> Model:
    (folder / "replace_examples.py").write_text(EXAMPLES.read_text())
    path = folder / "m.yaml"
    path.write_text(MANIFEST.format(model=model, target=target, replace=replace, shape=shape))
    return load(path).models[0]


def index_of(model: Model, store: Store) -> tuple[Any, dict[str, Any]]:
    """Trace, build and assemble, as the farm does; the index and the outputs by step."""
    made = {task.step: task for task in tasks(model, {}, installed(), ("cpu",))}
    trace = STEPS["trace"](made["trace"].spec, {}, store)
    build = STEPS["build"](made["build"].spec, {made["trace"].id: trace}, store)
    upstream = {made["trace"].id: trace, made["build"].id: build}
    return assemble(made["publish"].spec, upstream), {"trace": trace, "build": build}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            "{ module: 'blocks.*', with: 'a.b:c' }",
            Replacement("module", "blocks.*", "with", "a.b:c"),
        ),
        (
            "{ operator: 'k::w', converter: 'a:c' }",
            Replacement("operator", "k::w", "converter", "a:c"),
        ),
        ("{ operator: k.w, plugin: 'W@2' }", Replacement("operator", "k.w", "plugin", "W@2")),
        ("{ function: 'a:f', with: 'b:g' }", Replacement("function", "a:f", "with", "b:g")),
    ],
)
def test_read(tmp_path: Path, text: str, want: Replacement) -> None:
    model = manifest(tmp_path, text)
    assert model.replace == (want,)
    assert model.to_json()["replace"] == [want.to_json()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{ modul: a, with: 'a:b' }", "did you mean 'module'"),
        ("{ module: a }", "expected one of module, operator, function"),
        ("{ module: a, with: nowhere }", "package.module:function"),
        ("{ module: a, converter: 'a:b' }", "custom_op"),
        ("{ function: f, with: 'a:b' }", "package.module:function"),
        ("[a, b]", "expected a map"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said) as error:
        manifest(tmp_path, text)
    assert "m.yaml:10" in str(error.value)


def test_a_module_is_swapped_and_named_in_the_index(tmp_path: Path) -> None:
    model = manifest(
        tmp_path,
        '{ module: MultiheadAttention, with: "compiler.recipes.attention:multihead_attention" }',
        "encoder",
        shape="5, 16",
    )
    store = Store.open(tmp_path / "store", create=True)
    index, outputs = index_of(model, store)
    assert index.drawn
    assert index.labels == (
        ("goldens", "drawn"),
        (
            "replaced module MultiheadAttention",
            "with compiler.recipes.attention:multihead_attention",
        ),
    )
    places = [f"layers.layers.{n}.self_attn" for n in (0, 1)]
    assert outputs["trace"]["replaced"][0]["places"] == places
    report = parse_json(store.read_blob(outputs["build"]["report"]))
    assert [segment["kind"] for segment in report["segments"]] == ["engine"]
    assert outputs["build"]["evaluated"]["worst"] <= 1


def test_a_converter_reaches_the_build(tmp_path: Path) -> None:
    text = '{ operator: "kiln_examples::wave", converter: "replace_examples:wave_on_net" }'
    index, outputs = index_of(
        manifest(tmp_path, text, "model"), Store.open(tmp_path / "store", create=True)
    )
    assert outputs["build"]["evaluated"]["worst"] <= 1
    assert dict(index.labels)["replaced operator kiln_examples::wave"].startswith("converter")
