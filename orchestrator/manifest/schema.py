"""The manifest's form, and the JSON Schema that editors use. Only this edge uses pydantic.

Editors show the descriptions given here. `schema()` is kept in schema.json: after a change, run
`kiln schema > orchestrator/manifest/schema.json`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from compiler.build.effort import DEFAULT, EFFORTS
from enginebundle.format.spec import DTYPES, PRECISIONS
from orchestrator.manifest import values
from orchestrator.manifest.model import MIN_NODES, TIMEOUT

_ENTRYPOINT = {"type": "string", "pattern": values.ENTRYPOINT.pattern}
_RANGE = {
    "description": "[min, opt, max], {min, opt, max} or one number for all three.",
    "oneOf": [
        {"type": "integer", "minimum": 0},
        {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "minItems": 3,
            "maxItems": 3,
        },
        {
            "type": "object",
            "properties": {key: {"type": "integer", "minimum": 0} for key in values.RANGE_KEYS},
            "required": list(values.RANGE_KEYS),
            "additionalProperties": False,
        },
    ],
}
_BOUND = {
    "type": "object",
    "properties": {
        "atol": {"type": "number", "minimum": 0},
        "rtol": {"type": "number", "minimum": 0},
    },
    "required": ["atol", "rtol"],
    "additionalProperties": False,
}
_TOLERANCE = {"oneOf": [_BOUND, {"type": "object", "additionalProperties": _BOUND}]}
_SECONDS = {"type": ["number", "string"], "exclusiveMinimum": 0, "pattern": values.DURATION.pattern}
_BYTES = {"type": ["integer", "string"], "exclusiveMinimum": 0, "pattern": values.SIZE.pattern}
_DIM = {"type": ["integer", "string"], "minimum": 1}
_TARGET = {
    "type": "string",
    "examples": [
        "torch:cpu",
        "rtx:sm_89",
        "rtx:sm_80+sm_86",
        "trt:sm_90",
        "trt:sm_90_any",
        "trt:ampere_plus",
    ],
}
_REPLACEMENT = {
    "type": "object",
    "properties": {
        "module": {"type": "string", "description": "A module's path, class name or glob."},
        "operator": {"type": "string", "examples": ["aten.gelu.default", "mylib::op"]},
        "function": _ENTRYPOINT | {"description": "Where the model looks the function up."},
        "with": _ENTRYPOINT | {"description": "A module's factory, or a torch function."},
        "converter": _ENTRYPOINT | {"description": "A function on Net, for this model only."},
        "plugin": {"type": "string", "description": "Name@version, for trt targets."},
    },
    "oneOf": [{"required": [kind]} for kind in ("module", "operator", "function")],
    "anyOf": [{"required": [way]} for way in ("with", "converter", "plugin")],
    "minProperties": 2,
    "maxProperties": 2,
    "additionalProperties": False,
}
_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", "maxLength": 200}

NameField = Annotated[Any, BeforeValidator(values.name), WithJsonSchema(_NAME)]
EntrypointField = Annotated[Any, BeforeValidator(values.entrypoint), WithJsonSchema(_ENTRYPOINT)]
DimField = Annotated[Any, BeforeValidator(values.dim), WithJsonSchema(_DIM)]
RangeField = Annotated[Any, BeforeValidator(values.size_range), WithJsonSchema(_RANGE)]
TargetField = Annotated[Any, BeforeValidator(values.target), WithJsonSchema(_TARGET)]
SecondsField = Annotated[Any, BeforeValidator(values.seconds), WithJsonSchema(_SECONDS)]
BytesField = Annotated[Any, BeforeValidator(values.size), WithJsonSchema(_BYTES)]
ToleranceField = Annotated[Any, BeforeValidator(values.tolerances), WithJsonSchema(_TOLERANCE)]

ReplacementField = Annotated[Any, BeforeValidator(values.replacement), WithJsonSchema(_REPLACEMENT)]


class Form(BaseModel):
    """A map with known keys only and no conversions between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputForm(Form):
    """An input tensor."""

    dtype: Literal[tuple(DTYPES)] = Field(description="Element type, by torch's name.")  # type: ignore[valid-type]
    shape: list[DimField] = Field(
        description="Sizes: numbers, symbols whose ranges the profiles give, or expressions of these."
    )
    high: int | None = Field(
        None,
        gt=0,
        description="Integers drawn from a seed stay below this number (default: the rows of the table "
        "that the model reads by them, else 2).",
    )


class SourceForm(Form):
    """Where the model comes from: `entrypoint` or `program`."""

    entrypoint: EntrypointField | None = Field(
        None, description="package.module:function that returns a torch.nn.Module."
    )
    kwargs: dict[str, Any] = Field({}, description="The entrypoint's keyword arguments.")
    program: str | None = Field(
        None, description="A .pt2 file, relative to the manifest. Can carry code: see `trusted`."
    )
    trusted: bool = Field(False, description="You trust the author of the program file.")


class GoldensForm(Form):
    """Where reference inputs come from: `entrypoint`, `file` or `seed`."""

    entrypoint: EntrypointField | None = Field(
        None, description="package.module:function that returns the reference inputs."
    )
    kwargs: dict[str, Any] = Field({}, description="The entrypoint's keyword arguments.")
    file: str | None = Field(
        None, description="A safetensors or Parquet file, relative to the manifest."
    )
    seed: int | None = Field(None, ge=0, description="Draw inputs at random from this seed.")
    cases: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="How many inputs to draw for each profile (default: one each at min, opt, max, and at odd "
        "sizes between).",
    )


def _drawn() -> GoldensForm:
    return GoldensForm.model_validate({"seed": 0})


class ModelForm(Form):
    """One model, and what to build for it."""

    name: NameField = Field(description="The bundle's name in the store.")
    version: str | None = Field(
        None, description="A label for people; bundles have their own numbers."
    )
    source: SourceForm
    files: list[str] = Field(
        [],
        description="Files that count besides those that the entrypoints are seen to read; a change to "
        "one of them rebuilds the model.",
    )
    attachments: dict[str, str] = Field(
        {},
        description="Files that the model needs beside its tensors, such as a tokenizer's: the name in the bundle, "
        "and the file or folder. They are signed with it, and a service reads them through session.files.",
    )
    inputs: dict[str, InputForm] = Field(
        min_length=1, description="The inputs by name, in the order of the model's forward."
    )
    profiles: dict[str, dict[str, RangeField]] = Field(
        {}, description="Named ranges for every symbol: profile -> symbol -> [min, opt, max]."
    )
    targets: list[TargetField] = Field(
        min_length=1, description="Backend and architectures to build for."
    )
    precision: Literal[PRECISIONS] = Field(  # type: ignore[valid-type]
        "fp32", description="How the model computes. fp32 keeps TF32 off."
    )
    torch_executed_modules: list[str] = Field(
        [], description="Modules (paths, * allowed) that stay in torch."
    )
    torch_executed_ops: list[str] = Field(
        [], description="Operators (aten.add.Tensor) that stay in torch."
    )
    replace: list[ReplacementField] = Field(
        [],
        description="Pieces of the model to swap for your own; goldens come from the original model.",
    )
    plugins: list[EntrypointField] = Field(
        [],
        description="Functions that register TensorRT plugins where trt targets are built and validated, and "
        "the `operators` where any target is.",
    )
    operators: list[str] = Field(
        [],
        description="Operators of your own (mylib::scale) that torch may call in this bundle. Whoever loads it "
        "has to allow them by name.",
    )
    require_full_compilation: bool = Field(
        False, description="Fail rather than leave any operator in torch."
    )
    min_nodes: int = Field(
        MIN_NODES, ge=1, description="Engine segments with fewer operators run in torch."
    )
    goldens: GoldensForm = Field(default_factory=_drawn)
    tolerance: ToleranceField = Field(
        (), description="{atol, rtol} for all outputs, or by output name."
    )
    timeout: SecondsField = Field(
        TIMEOUT, description="Time limit of each step: seconds, or 90s, 10m, 2h."
    )
    memory: BytesField | None = Field(
        None, description="Memory limit of each step: bytes, or 512MiB, 8GiB."
    )
    engine_profiles: Literal["separate", "shared"] = Field(
        "separate", description="An engine for each profile, or one engine for all."
    )
    effort: Literal[EFFORTS] = Field(  # type: ignore[valid-type]
        DEFAULT,
        description="How much work TensorRT puts into a trt target's engines. Other targets' builds "
        "have no such choice and do not depend on it.",
    )
    version_compatible: bool = Field(
        False, description="Later versions of TensorRT open the trt targets' engines too."
    )
    allow_torch: bool = Field(
        False,
        description="Take a target that is to have engines even if none of it could be put into one.",
    )
    refit: bool = Field(
        False,
        description="Engines without weights, shared by all fine-tunes of a model: trt targets only.",
    )
    unrecorded: Literal["refuse", "allow"] = Field(
        "refuse",
        description="If the model's code starts a program or opens a connection, whose reads can't be "
        "recorded: fail, or go on and name it in plans.",
    )


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest file.

    Any other key of a model may come from `defaults`, so only `name` is required here; the loader
    checks the rest after merging.
    """
    model = ModelForm.model_json_schema(ref_template="#/$defs/{model}")
    definitions = model.pop("$defs")
    for form in ("SourceForm", "GoldensForm", "InputForm"):
        definitions[form].pop("required", None)
    shared = {key: value for key, value in model["properties"].items() if key != "name"}
    definitions["ModelForm"] = model | {"required": ["name"]}
    definitions["Defaults"] = {
        "type": "object",
        "description": "Merged into every model: maps key by key; a model's own lists and values replace these.",
        "properties": shared,
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kiln manifest",
        "type": "object",
        "properties": {
            "defaults": {"$ref": "#/$defs/Defaults"},
            "models": {"type": "array", "items": {"$ref": "#/$defs/ModelForm"}, "minItems": 1},
        },
        "required": ["models"],
        "additionalProperties": False,
        "$defs": definitions,
    }
