"""Reads a YAML file into a Manifest, or raises one ManifestError with everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.manifest.checks import problems_of
from orchestrator.manifest.convert import convert
from orchestrator.manifest.errors import ManifestError, Problem, nearest
from orchestrator.manifest.model import Manifest, Model
from orchestrator.manifest.schema import ModelForm, schema
from orchestrator.manifest.values import spell
from orchestrator.manifest.yaml import Located, join, parse

CHOICES: Mapping[str, frozenset[str]] = {
    "source": frozenset({"entrypoint", "program"}),
    "goldens": frozenset({"entrypoint", "file", "seed"}),
}
"""Settings of which a model chooses one kind: its own choice replaces the whole default."""
_UNKNOWN = "unknown key"
REPLACED = frozenset({"tolerance"})
"""Maps that are never merged key by key, because they can be written in two forms."""


def load(path: str | Path) -> Manifest:
    """Read a manifest file. ManifestError if it can't be read or planned."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(0, 0, "", f"can't be read: {error}; expected a YAML file in UTF-8")
        raise ManifestError(str(path), [problem]) from error
    return loads(text, file=str(path), folder=path.resolve().parent)


def loads(text: str, *, file: str = "manifest", folder: Path | None = None) -> Manifest:
    """Read a manifest's text; relative paths in it start at `folder` (default: the current one)."""
    folder = Path.cwd() if folder is None else folder
    root, problems = parse(text)
    models: list[Model] = []
    if root is not None:
        for node in _models(root, problems):
            model = _model(node, folder, problems)
            if model is not None:
                models.append(model)
    if problems:
        raise ManifestError(file, problems)
    return Manifest(tuple(models), folder)


def _models(root: Located, problems: list[Problem]) -> Iterator[Located]:
    """Each model's map with the defaults merged in."""
    if not isinstance(root.value, dict):
        message = f"expected a map with `models:`, got {spell(root.plain())}"
        problems.append(root.problem(message))
        return
    for key in root.value.keys() - {"models", "defaults"}:
        hint = nearest(key, ("models", "defaults"))
        problems.append(root.key_problem(key, f"unknown key{hint}"))
    defaults, models = root.value.get("defaults"), root.value.get("models")
    if defaults is not None and not isinstance(defaults.value, dict):
        problems.append(defaults.problem(f"expected a map, got {spell(defaults.plain())}"))
        defaults = None
    if defaults is not None and "name" in defaults.value:
        problems.append(defaults.key_problem("name", "each model has its own name; remove this"))
        return
    if models is None or not isinstance(models.value, list) or not models.value:
        place = models or root
        problems.append(place.problem("expected `models:` with a list of at least one model"))
        return
    names: dict[Any, int] = {}
    for node in models.value:
        if not isinstance(node.value, dict):
            problems.append(node.problem(f"expected a map, got {spell(node.plain())}"))
            continue
        name = node.value.get("name")
        if name is not None and isinstance(name.value, str):
            if name.value in names:
                message = f"two models are named {name.value!r}; the first is on line"
                problems.append(name.problem(f"{message} {names[name.value]}"))
            names.setdefault(name.value, name.line)
        yield node if defaults is None else merge(defaults, node)


def merge(base: Located, over: Located, key: str = "") -> Located:
    """`over` on top of `base`: maps merge key by key, everything else is replaced."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or key in REPLACED:
        return over
    choice = CHOICES.get(key, frozenset()) & over.value.keys()
    if choice and not choice & base.value.keys():
        return over
    value = dict(base.value)
    for name, item in over.value.items():
        # Maps, kwargs among them, merge key by key: single arguments may come from the defaults.
        value[name] = merge(base.value[name], item, name) if name in base.value else item
    keys = dict(base.keys) | dict(over.keys)
    return Located(value, over.line, over.column, over.path, tuple(keys.items()))


def _model(node: Located, folder: Path, problems: list[Problem]) -> Model | None:
    try:
        form = ModelForm.model_validate(node.plain())
    except ValidationError as error:
        details = [(detail["type"], _translate(detail, node)) for detail in error.errors()]
        # A misspelt key also counts as missing; one problem is enough.
        misspelt = {
            problem.path.rpartition(".")[0]
            for kind, problem in details
            if kind == "extra_forbidden" and problem.message != _UNKNOWN
        }
        problems += [
            problem
            for kind, problem in details
            if kind != "missing" or problem.path.rpartition(".")[0] not in misspelt
        ]
        return None
    found = problems_of(form, node)
    problems += found
    return None if found else convert(form, folder)


def _translate(detail: Any, node: Located) -> Problem:
    """A pydantic error as a problem, at the line where the value was written."""
    parent, place, rest = node, node, list(detail["loc"])
    steps: list[str] = []
    while rest and isinstance(place.value, dict | list):
        step = rest[0]
        if isinstance(place.value, dict) and step not in place.value:
            break
        parent, place = place, place.value[step]
        steps.append(step if isinstance(step, str) else "[]")
        rest.pop(0)
    kind = detail["type"]
    if kind == "missing":
        key = str(rest[0])
        path = join(place.path, key)
        return Problem(place.line, place.column, path, "this required key is missing")
    if kind == "extra_forbidden":
        key = str(steps[-1])
        line, column = dict(parent.keys).get(key, (place.line, place.column))
        return Problem(line, column, place.path, f"{_UNKNOWN}{nearest(key, _known(steps[:-1]))}")
    return place.problem(_message(detail))


def _message(detail: Any) -> str:
    got = spell(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            known = [
                word.strip("' ")
                for word in str(context["expected"]).replace(" or ", ", ").split(",")
            ]
            return f"{got} is not known{nearest(str(detail['input']), known)}"
        case "string_type":
            return f"expected text, got {got}; put it in quotes"
        case "list_type":
            return f"expected a list, got {got}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"expected a map, got {got}"
        case "too_short":
            return "expected at least one entry, got none"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {got}"


def _known(steps: list[str]) -> list[str]:
    """The keys that the schema allows at a place inside a model."""
    definitions = schema()["$defs"]
    place: dict[str, Any] = definitions["ModelForm"]
    for step in steps:
        if step == "[]":
            place = place.get("items", {})
        else:
            place = place.get("properties", {}).get(step) or place.get("additionalProperties", {})
        if "$ref" in place:
            place = definitions[place["$ref"].rsplit("/", 1)[1]]
    return list(place.get("properties", {}))
