"""Reference inputs: from a user's function, from a file, or drawn at random.

* A function returns a list of `{input: tensor or array}`, or of `(name, {input: ...})`.
* A safetensors file holds `<case>/<input>`, or plain `<input>` for one case.
* A Parquet file holds one case per row and one column per input, whose cells are numbers or (nested)
  lists in the input's shape. A column `case` names the rows, unless an input has that name.
* A seed draws inputs at sizes of each profile in turn: min, opt, max, and odd ones between. Floats are
  normally distributed, bools all true. Integers go from 0 up to but not including `high`; where that is
  not given, over the rows of the tables that the model reads by them (compiler/goldens/reach.py); where it
  reads none, to 2, and over all of uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from compiler.goldens.source import GoldenSource
from compiler.refused import Refused
from compiler.trace.examples import default_example
from compiler.trace.load import call_user, load_function
from enginebundle.errors import FormatError
from enginebundle.format.parse import check_name
from enginebundle.format.spec import Profile, TensorSpec
from enginebundle.serve.nested import flattened

Cases = dict[str, dict[str, torch.Tensor]]
Reach = Callable[[Mapping[str, torch.Tensor]], Mapping[str, int]]


class GoldensRefused(Refused):
    """Goldens can't be made. Codes: `source`, `file`, `case`, `profile`, `forward`, `reshaped`,
    `mutation`, `random`."""


def read_inputs(
    source: GoldenSource,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    search_path: tuple[str, ...] = (),
    reach: Reach = lambda _: {},
) -> Cases:
    """Cases by name, each with exactly the inputs, in their dtypes. Raises GoldensRefused.

    `reach` gives the exclusive bounds of integer inputs at the sizes of the tensors it is given.
    The source's entrypoint is looked up in `search_path`, then in `sys.path`.
    """
    given = [source.entrypoint, source.file, source.seed]
    if sum(item is not None for item in given) != 1:
        raise GoldensRefused(
            "source",
            f"goldens come from exactly one of entrypoint, file and seed, got {given}",
            "give one of them",
        )
    if source.seed is not None:
        return _drawn(source, inputs, profiles, reach)
    if source.file is not None:
        cases = _from_file(Path(source.file), inputs)
    else:
        assert source.entrypoint is not None
        function = load_function(source.entrypoint, search_path)
        cases = _named(call_user(function, dict(source.kwargs), source.entrypoint), source)
    if not cases:
        raise GoldensRefused(
            "case", "goldens: no case given; expected at least one", "give at least one input"
        )
    return {name: _checked(name, case, inputs) for name, case in cases.items()}


def _drawn(
    source: GoldenSource,
    inputs: tuple[TensorSpec, ...],
    profiles: tuple[Profile, ...],
    reach: Reach,
) -> Cases:
    assert source.seed is not None
    generator = torch.Generator().manual_seed(source.seed)
    result: Cases = {}
    for profile in profiles:
        sizes = _points(profile)
        for index in range(source.cases or len(sizes)):
            point = list(sizes)[index % len(sizes)]
            turn = f"-{index // len(sizes)}" if index >= len(sizes) else ""
            shapes = {spec.name: spec.sizes(sizes[point]) for spec in inputs}
            probe = {s.name: default_example(s, shapes[s.name], generator, 1) for s in inputs}
            high = {s.name: 256 for s in inputs if s.dtype == "uint8"}
            high |= {**reach(probe), **dict(source.high)}
            result[f"{profile.name}-{point}{turn}"] = {
                spec.name: default_example(
                    spec, shapes[spec.name], generator, high.get(spec.name, 2)
                )
                for spec in inputs
            }
    return result


def _points(profile: Profile) -> dict[str, dict[str, int]]:
    """Sizes to draw at, by name: min, opt and max, then odd ones between them, if there are any."""
    found = {point: profile.at(point) for point in ("min", "opt", "max")}
    for name, low, high in (("low", "min", "opt"), ("high", "opt", "max")):
        between = {s: _between(found[low][s], found[high][s]) for s in profile.symbols}
        if between not in found.values():
            found[name] = between
    return found


def _between(low: int, high: int) -> int:
    """An odd number between two, near their middle; if there is none, any; else the lower one."""
    middle = (low + high) // 2
    near = [n for n in (middle, middle - 1, middle + 1) if low < n < high]
    return next((n for n in near if n % 2), near[0] if near else low)


def _from_file(path: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, Mapping[str, Any]]:
    readers = {".safetensors": _from_safetensors, ".parquet": _from_parquet}
    if path.suffix not in readers or not path.is_file():
        raise GoldensRefused(
            "file",
            f"goldens file {str(path)!r}: expected an existing .safetensors or .parquet file",
            "correct the path",
        )
    try:
        return readers[path.suffix](path, inputs)
    except Exception as error:  # readers raise exceptions of their libraries
        raise GoldensRefused(
            "file", f"goldens file {str(path)!r} can't be read: {error}", "write it again"
        ) from error


def _from_safetensors(path: Path, _: tuple[TensorSpec, ...]) -> dict[str, Mapping[str, Any]]:
    from safetensors.torch import load_file

    cases: dict[str, dict[str, Any]] = {}
    for key, tensor in sorted(load_file(path).items()):
        case, slash, name = key.rpartition("/")
        cases.setdefault(case if slash else "case_0", {})[name] = tensor
    return dict(cases)


def _from_parquet(path: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, Mapping[str, Any]]:
    import pyarrow.parquet as parquet

    dtypes = {spec.name: getattr(torch, spec.dtype) for spec in inputs}
    named = "case" not in dtypes
    cases: dict[str, Mapping[str, Any]] = {}
    for index, row in enumerate(parquet.read_table(path).to_pylist()):
        name = str(row.pop("case")) if named and "case" in row else f"case_{index}"
        cases[name] = {k: torch.tensor(v, dtype=dtypes.get(k)) for k, v in row.items()}
    return cases


def _named(result: Any, source: GoldenSource) -> dict[str, Mapping[str, Any]]:
    """The list that the function returned, as cases by name."""
    cases: dict[str, Mapping[str, Any]] = {}
    items = (
        list(result) if isinstance(result, Iterable) and not isinstance(result, dict) else [result]
    )
    for index, item in enumerate(items):
        name, case = item if isinstance(item, tuple) and len(item) == 2 else (f"case_{index}", item)
        if not isinstance(case, Mapping) or not isinstance(name, str) or name in cases:
            raise GoldensRefused(
                "case",
                f"{source.entrypoint} returned {type(item).__name__} as case {index}; expected "
                "{input: tensor} or (name, {input: tensor}) with a unique name",
                "return a list of such cases",
            )
        cases[name] = case
    return cases


def _checked(
    name: str, case: Mapping[str, Any], inputs: tuple[TensorSpec, ...]
) -> dict[str, torch.Tensor]:
    try:
        check_name(name, "golden")
    except FormatError as error:
        raise GoldensRefused("case", str(error), "rename the case") from error
    want = [spec.name for spec in inputs]
    case = flattened(case, want)
    if set(case) != set(want):
        raise GoldensRefused(
            "case",
            f"golden {name!r} gives {', '.join(sorted(case))}; expected {', '.join(want)}",
            "give each input of the manifest, and nothing else",
        )
    tensors = {}
    for spec in inputs:
        tensor = torch.as_tensor(case[spec.name])
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype != spec.dtype:
            raise GoldensRefused(
                "case",
                f"golden {name!r}: input {spec.name!r} is {dtype}, expected {spec.dtype}",
                f"convert it to {spec.dtype}, or declare the input as {dtype}",
            )
        tensors[spec.name] = tensor.detach().cpu().contiguous()
    return tensors
