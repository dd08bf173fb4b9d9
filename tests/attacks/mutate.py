"""Mutants: bytes, JSON and torch graphs, changed at random."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import torch

from enginebundle.format.digest import parse_json
from enginebundle.runtimes.torch_ops import ALLOWED

NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**53, 2**63 - 1, -(2**63), 10**30, 10**9, 0.5, -1.5, 1e308, "", "x",
    "b", "../../etc/passwd", "\0", "é", "\ud800", "9**9**9", "b//0", "sha256:" + "0" * 64, [], {}, [[]], [0], ["b"],
    {"ref": "x"}, {"ref": "nothing"}, {"dtype": "int64"}, {"dtype": "float16"}, {"device": "cuda:9"},
    {"float": "nan"}, {"float": "inf"},
]  # fmt: skip
INTEGERS = [-9, -2, -1, 0, 0, 1, 1, 1, 2, 2, 3, 4, 17, 1000, 10**6, 10**9, 2**31, 2**62]


def data(draw: random.Random, old: bytes) -> bytes:
    """Bytes with one to three changes."""
    new = bytearray(old)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(new) + 1)
        end = min(len(new), place + draw.choice([1, 1, 2, 8, 64]))
        match draw.randrange(7):
            case 0 if place < len(new):
                new[place] ^= 1 << draw.randrange(8)
            case 1:
                del new[place:]
            case 2:
                del new[place:end]
            case 3:
                new[place:place] = draw.randbytes(draw.choice([1, 2, 8]))
            case 4:
                new[place:place] = new[place:end] * draw.choice([1, 2, 50])
            case 5:
                new[place:end] = draw.choice(
                    [b"0", b"-1", b"9" * 30, b'"', b"[", b"}", b"\xff", b"1e999", b"\\ud800"]
                )
            case _:
                new[place:end] = b"\0" * (end - place)
    return bytes(new)


def tree(draw: random.Random, value: Any) -> Any:
    """JSON with one to three values replaced, removed, doubled or exchanged."""
    changed = copy.deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            return draw.choice(NASTY)
        parent, key = draw.choice(places)
        match draw.randrange(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case 2 if isinstance(parent, dict):
                parent[draw.choice([str(key) + "x", "ref", "format", ""])] = parent.pop(key)
            case 3:
                other, name = draw.choice(places)
                if (isinstance(other, dict) and name in other) or (
                    isinstance(other, list) and name < len(other)
                ):
                    parent[key] = copy.deepcopy(other[name])
            case _:
                parent[key] = copy.deepcopy(draw.choice(NASTY))
    return changed


def document(draw: random.Random, old: bytes) -> bytes:
    """A JSON document, changed as bytes or as a tree."""
    return data(draw, old) if draw.random() < 0.3 else text(tree(draw, parse_json(old)))


def text(value: Any) -> bytes:
    """JSON as a careless writer leaves it, and mostly as a careful one."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def calls(draw: random.Random, graph: dict[str, Any]) -> dict[str, Any]:
    """A graph with one to three more calls of operators that are allowed, with arguments of the right types."""
    changed = copy.deepcopy(graph)
    names = [spec["name"] for spec in (*changed["inputs"], *changed["weights"])]
    for number in range(draw.randint(1, 3)):
        node = _call(draw, names, f"more{number}")
        changed["nodes"].insert(number, node)
        if draw.random() < 0.5:
            names += [value["name"] for value in node["outputs"]]
    return changed


def _call(draw: random.Random, names: list[str], name: str) -> dict[str, Any]:
    op = draw.choice(_SORTED)
    packet, _, overload = op.removeprefix("aten.").rpartition(".")
    schema = getattr(getattr(torch.ops.aten, packet), overload)._schema
    args, kwargs = [], {}
    for argument in schema.arguments:
        if argument.has_default_value() and draw.random() < 0.5:
            if not argument.kwarg_only:
                break
            continue
        given = _argument(draw, names, str(argument.type))
        if argument.kwarg_only:
            kwargs[argument.name] = given
        else:
            args.append(given)
    outputs = [
        {"name": f"{name}.{place}", "dtype": draw.choice(["float32", "int64", "none"]), "shape": []}
        for place in range(max(1, len(schema.returns)))
    ]
    return {"op": op, "args": args, "kwargs": kwargs, "outputs": outputs}


def _argument(draw: random.Random, names: list[str], kind: str) -> Any:
    if kind.startswith("Optional[") and draw.random() < 0.4:
        return None
    kind = kind.removeprefix("Optional[").rstrip("]") if kind.startswith("Optional[") else kind
    if kind.startswith("List["):
        inner = kind.removeprefix("List[").removesuffix("]")
        return [_argument(draw, names, inner) for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4]))]
    return {
        "Tensor": lambda: {"ref": draw.choice(names)},
        "int": lambda: draw.choice(INTEGERS),
        "SymInt": lambda: draw.choice(INTEGERS),
        "float": lambda: draw.choice([0.0, 1.0, -1.0, 0.5, 1e-9, 1e30, {"float": "nan"}]),
        "number": lambda: draw.choice([*INTEGERS, 0.5, -2.5]),
        "bool": lambda: draw.random() < 0.5,
        "str": lambda: draw.choice(
            ["none", "sum", "mean", "constant", "reflect", "ij->ji", "\0", ""]
        ),
        "Device": lambda: {"device": "cpu"},
    }.get(kind, lambda: draw.choice(NASTY))()


_SORTED = sorted(ALLOWED)


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
