"""The JSON Schema for editors agrees with the code, and with what the loader takes and refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import orchestrator
from orchestrator.manifest.errors import ManifestError
from orchestrator.manifest.load import loads
from orchestrator.manifest.schema import ModelForm, schema

HERE = Path(orchestrator.__file__).parent
MANIFESTS = sorted((HERE.parent / "manifests").glob("*.yaml"))

GOOD: dict[str, Any] = {
    "defaults": {"targets": ["torch:cpu"], "source": {"kwargs": {"a": None}}},
    "models": [
        {
            "name": "m",
            "source": {"entrypoint": "zoo:m"},
            "inputs": {"x": {"dtype": "int64", "shape": ["b", 3], "high": 5}},
            "profiles": {"p": {"b": [1, 2, 3]}, "q": {"b": {"min": 1, "opt": 2, "max": 3}}},
            "goldens": {"seed": 1, "cases": 2},
            "tolerance": {"y": {"atol": 0, "rtol": 0.1}},
            "timeout": "1h5m",
            "memory": "8GiB",
            "engine_profiles": "shared",
            "effort": "fast",
        }
    ],
}


def test_the_kept_schema_is_the_code_s() -> None:
    kept = json.loads((HERE / "manifest" / "schema.json").read_text())
    assert kept == schema(), "run `kiln schema > orchestrator/manifest/schema.json`"


def test_it_is_a_schema_and_names_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    model = schema()["$defs"]["ModelForm"]["properties"]
    assert model.keys() == ModelForm.model_fields.keys()
    assert model.keys() - schema()["$defs"]["Defaults"]["properties"].keys() == {"name"}
    undescribed = [
        f"{name}.{key}"
        for name, form in schema()["$defs"].items()
        for key, field in form["properties"].items()
        if "description" not in field and "$ref" not in field
    ]
    assert undescribed == []


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda path: path.stem)
def test_our_manifests_fit_schema_and_loader(file: Path) -> None:
    text = file.read_text()
    jsonschema.validate(yaml.safe_load(text), schema())
    assert loads(text).models


def test_a_full_manifest_fits_both() -> None:
    jsonschema.validate(GOOD, schema())
    assert loads(yaml.safe_dump(GOOD)).models


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("models", 0, "nmae"), "x"),
        (("defaults", "name"), "x"),
        (("models", 0, "inputs", "x", "dtpye"), "x"),
        (("models", 0, "inputs", "x", "dtype"), "float"),
        (("models", 0, "inputs", "x", "shape"), [0]),
        (("models", 0, "profiles", "p", "b"), [1, 2]),
        (("models", 0, "profiles", "p", "b"), {"min": 1}),
        (("models", 0, "tolerance"), {"atol": 1}),
        (("models", 0, "tolerance"), {"y": 1}),
        (("models", 0, "timeout"), "10 min"),
        (("models", 0, "timeout"), 0),
        (("models", 0, "memory"), "8G"),
        (("models", 0, "precision"), "fp8"),
        (("models", 0, "source", "entrypoint"), "zoo.m"),
        (("models", 0, "source", "kwargs"), []),
        (("models", 0, "goldens", "cases"), 0),
        (("models", 0, "name"), "../m"),
        (("models", 0, "targets"), []),
        (("models",), []),
    ],
)
def test_both_refuse(path: tuple[str | int, ...], value: Any) -> None:
    wrong = copy.deepcopy(GOOD)
    place: Any = wrong
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())
    with pytest.raises(ManifestError):
        loads(yaml.safe_dump(wrong))
