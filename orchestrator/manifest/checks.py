"""Mistakes that no form can express: between the parts of one model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from enginebundle.errors import FormatError
from enginebundle.format import dims
from enginebundle.format.attachments import check_attachments
from enginebundle.format.solve import unsolvable
from orchestrator.manifest.errors import Problem, nearest
from orchestrator.manifest.schema import ModelForm
from orchestrator.manifest.yaml import Located

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


def problems_of(form: ModelForm, node: Located) -> list[Problem]:
    """Every mistake of a model whose parts are well formed on their own."""
    checks = (_source, _inputs, _symbols, _targets, _refit, _goldens, _patterns, _attachments)
    return [problem for check in checks for problem in check(form, node)]


def _at(node: Located, *keys: str | int) -> Located:
    """Where a value was written, or else the nearest value around it that was."""
    for key in keys:
        written = isinstance(node.value, dict) and key in node.value
        if not written and not isinstance(node.value, list):
            break
        node = node.value[key]
    return node


def _source(form: ModelForm, node: Located) -> Iterator[Problem]:
    source, place = form.source, _at(node, "source")
    if (source.entrypoint is None) == (source.program is None):
        yield place.problem("expected one of `entrypoint` and `program`")
    elif source.program is not None:
        if source.kwargs:
            yield _at(place, "kwargs").problem("a program file takes no kwargs; remove them")
        if not source.trusted:
            yield _at(place, "program").problem(
                f"{source.program!r} can carry pickled code, which runs when the file is opened; "
                "add `trusted: true` beside it if you trust its author, or give an entrypoint"
            )


def _inputs(form: ModelForm, node: Located) -> Iterator[Problem]:
    for name, tensor in form.inputs.items():
        place = _at(node, "inputs", name)
        first, *inner = name.split(".")
        if not first.isidentifier() or not all(re.fullmatch(r"\w+", part) for part in inner):
            yield place.problem(
                f"input {name!r}: expected a Python name, as in the model's forward; in a list or dict that it "
                "takes, with the way there: feats.0, batch.ids"
            )
        above = [n for n in form.inputs if name.startswith(f"{n}.")]
        if above:
            yield place.problem(
                f"input {name!r} lies in {above[0]!r}, which is an input itself; remove one of them"
            )
        if tensor.high is not None and tensor.dtype not in INTEGERS:
            yield _at(place, "high").problem(
                f"`high` limits integers drawn from a seed, but this input is {tensor.dtype}; remove it"
            )


def _symbols(form: ModelForm, node: Located) -> Iterator[Problem]:
    used: dict[str, tuple[str, int]] = {}
    for name, tensor in form.inputs.items():
        for index, dim in enumerate(tensor.shape):
            for symbol in sorted(dims.symbols_of(dim)):
                used.setdefault(symbol, (name, index))
    if used and not form.profiles:
        listed = ", ".join(sorted(used))
        example = ", ".join(f"{symbol}: [1, 4, 8]" for symbol in sorted(used))
        name, index = next(iter(used.values()))
        yield _at(node, "inputs", name, "shape", index).problem(
            f"the symbols {listed} have no range; add `profiles: {{default: {{{example}}}}}`"
        )
    for profile, ranges in form.profiles.items():
        place = _at(node, "profiles", profile)
        if (
            not profile
            or "/" in profile
            or not profile.replace("-", "_").replace(".", "_").isidentifier()
        ):
            yield place.problem(
                f"profile {profile!r}: expected letters, digits, '_', '-' and '.', not starting with a digit"
            )
        for symbol in sorted(used.keys() - ranges.keys()):
            name, _ = used[symbol]
            others = [other for other, given in form.profiles.items() if symbol in given]
            where = (
                f"profile {', '.join(map(repr, others))} gives it" if others else "no profile does"
            )
            yield place.problem(
                f"profile {profile!r} gives no range for {symbol!r}, which the input {name!r} uses "
                f"({where}); add `{symbol}: [min, opt, max]`"
            )
        for symbol in sorted(ranges.keys() - used.keys()):
            uses = f"they use {', '.join(sorted(used))}" if used else "they use no symbol"
            hint = nearest(symbol, used) if used else ""
            hint = hint if "did you mean" in hint else "; remove it or use it in a shape"
            yield place.key_problem(
                symbol, f"profile {profile!r} gives {symbol!r}, which no input uses: {uses}{hint}"
            )
        if not used.keys() - ranges.keys():
            yield from _sizes(form, node, profile)
    shapes = [dim for tensor in form.inputs.values() for dim in tensor.shape]
    for symbol in sorted(unsolvable(shapes)):
        name, index = used[symbol]
        yield _at(node, "inputs", name, "shape", index).problem(
            f"no input's size tells the value of {symbol!r}, which a call needs; give it a dimension of its own, "
            f"or one that is a line over it, such as `2*{symbol} + 1` (for `{symbol}//2` name the half: "
            f"`h`, and `2*h` elsewhere; or let another size tell the rest, such as `{symbol} - {symbol}//2`)"
        )


def _sizes(form: ModelForm, node: Located, profile: str) -> Iterator[Problem]:
    """Shapes that have no valid size at some point of a profile's ranges."""
    for point in ("min", "opt", "max"):
        values = {s: getattr(bounds, point) for s, bounds in form.profiles[profile].items()}
        for name, tensor in form.inputs.items():
            for index, dim in enumerate(tensor.shape):
                try:
                    size = dims.evaluate(dim, values)
                except FormatError as error:
                    yield _at(node, "inputs", name, "shape", index).problem(str(error))
                    continue
                if size < 0:
                    yield _at(node, "inputs", name, "shape", index).problem(
                        f"{dim!r} is {size} at the {point} of profile {profile!r}; expected 0 or more"
                    )


def _targets(form: ModelForm, node: Located) -> Iterator[Problem]:
    for index, target in enumerate(form.targets):
        if target in form.targets[:index]:
            yield _at(node, "targets", index).problem(f"target {target} is listed twice; keep one")
    if form.version_compatible and all(target.backend != "trt" for target in form.targets):
        yield _at(node, "version_compatible").problem(
            "`version_compatible` is about the engines of trt targets, and none is listed; remove it"
        )


def _refit(form: ModelForm, node: Located) -> Iterator[Problem]:
    if form.refit and not any(target.backend == "trt" for target in form.targets):
        yield _at(node, "refit").problem(
            "`refit` is for trt targets, and this model has none: TensorRT-RTX builds refittable "
            "engines only where there is a GPU, and torch needs no engines; remove it"
        )
    if form.refit and form.version_compatible:
        yield _at(node, "refit").problem(
            "`refit` and `version_compatible` exclude each other: the library that a version-compatible "
            "engine brings along can't refit; remove one"
        )


def _goldens(form: ModelForm, node: Located) -> Iterator[Problem]:
    goldens, place = form.goldens, _at(node, "goldens")
    kinds = [k for k in ("entrypoint", "file", "seed") if getattr(goldens, k) is not None]
    if goldens.cases is not None and not kinds:
        kinds = ["seed"]
    if len(kinds) != 1:
        yield place.problem("expected one of `entrypoint`, `file` and `seed`")
    elif kinds != ["seed"] and goldens.cases is not None:
        yield _at(place, "cases").problem(
            "`cases` is the number of inputs drawn from a seed; remove it"
        )
    elif kinds != ["entrypoint"] and goldens.kwargs:
        yield _at(place, "kwargs").problem("`kwargs` are an entrypoint's arguments; remove them")
    elif goldens.file is not None and not goldens.file.endswith((".safetensors", ".parquet")):
        yield _at(place, "file").problem(
            f"{goldens.file!r}: expected a file ending in .safetensors or .parquet"
        )


def _attachments(form: ModelForm, node: Located) -> Iterator[Problem]:
    place = _at(node, "attachments")
    try:
        check_attachments(form.attachments)
    except FormatError as error:
        yield place.problem(f"{error}")


def _patterns(form: ModelForm, node: Located) -> Iterator[Problem]:
    for index, op in enumerate(form.torch_executed_ops):
        if op.count(".") < 1 or "::" in op:
            yield _at(node, "torch_executed_ops", index).problem(
                f"operator {op!r}: expected an overload such as aten.softmax.int, or aten.softmax.*"
            )
