"""The rules of the house, each a function from a Tree to the places that break it, as text."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tests.architecture.tree import Import, Tree, last_name

Order = Sequence[Sequence[str]]
"""Rooms from the bottom up. Those of one entry stand side by side and import nothing of each other."""


def imports_of(imports: Collection[Import], libraries: Collection[str]) -> list[str]:
    """Imports of any of these top-level names."""
    return [str(found) for found in imports if found.top in libraries]


def packages_upward(tree: Tree, order: Sequence[str]) -> list[str]:
    """Imports from a package into one that comes after it in the order."""
    return [
        str(found)
        for place, package in enumerate(order)
        for found in tree.of(package)
        if found.top in order[place + 1 :]
    ]


def upward(tree: Tree, package: str, order: Order, apart: Mapping[str, str]) -> list[str]:
    """Imports between the package's rooms that do not go down.

    A room is a folder or a module directly in the package. One that the order does not list is
    reported too. `apart` maps a room outside the order to the highest one it may import; nothing
    may import it. The package's own `__init__` and `__main__` stand above everything.
    """
    height = {room: level for level, rooms in enumerate(order) for room in rooms}
    found = [
        f"{package}.{room} has no place in the order"
        for room in sorted({_room(name) for name in tree.modules if _in(name, package)})
        if room not in height and room not in apart and room not in ("", "__main__")
    ]
    for each in tree.of(package):
        target = tree.resolve(each.name)
        if target is None or not _in(target, package):
            continue
        low, high = _room(target), _room(each.module)
        if low == high or high in ("", "__main__"):
            continue
        if low == "":
            found.append(f"{each}: the package's top, from a room")
            continue
        above = height.get(apart[high], -1) + 1 if high in apart else height.get(high)
        # Rooms without a place are reported above.
        if low in apart or (low in height and above is not None and height[low] >= above):
            found.append(f"{each}: {low} is not below {high}")
    return found


def circles(tree: Tree, but: Collection[tuple[str, str]] = ()) -> list[str]:
    """Groups of modules that reach each other by imports, whenever those run.

    `but` are pairs (importing module, imported module) of imports for type checkers only that
    can't be avoided. Such a pair is reported where there is no such import.
    """
    edges: dict[str, set[str]] = {name: set() for name in tree.modules}
    unused = set(but)
    for found in tree.imports:
        target = tree.resolve(found.name)
        if target is None or target == found.module:
            continue
        pair = (found.module, target)
        if found.when == "typing" and pair in but:
            unused.discard(pair)
        else:
            edges[found.module].add(target)
    groups = [group for group in _groups(edges) if len(group) > 1]
    return [" <-> ".join(sorted(group)) for group in groups] + [
        f"{module} no longer imports {target}: take it off the list" for module, target in unused
    ]


def loose(tree: Tree, package: str, allowed: Collection[str]) -> list[str]:
    """Files directly in a package beyond those allowed, and those allowed that are not there."""
    names = {path.name for path in (tree.root / package).iterdir() if path.is_file()}
    return [f"{package}/{name} is in no room" for name in sorted(names - set(allowed))] + [
        f"{package}/{name} does not exist" for name in sorted(set(allowed) - names)
    ]


def outside(tree: Tree, library: str, files: Collection[str]) -> list[str]:
    """Imports of a library in files other than these, and listed files that do not import it."""
    found = [i for i in tree.imports if i.top == library]
    missing = set(files) - {i.file for i in found}
    return [str(i) for i in found if i.file not in files] + [
        f"{file} no longer imports {library}: take it off the list" for file in sorted(missing)
    ]


def unsealed(tree: Tree, folder: str, doors: Collection[str]) -> list[str]:
    """Imports of anything in a folder (a dotted name) from outside it, but by the listed files."""
    return [
        str(found)
        for found in tree.imports
        if (target := tree.resolve(found.name)) is not None
        and _in(target, folder)
        and not _in(found.module, folder)
        and found.file not in doors
    ]


def broad_excepts(tree: Tree, allowed: Collection[str]) -> list[str]:
    """Handlers of any exception outside the listed files, and listed files that have none."""
    found = {tree.name(path): list(_broad(tree.parsed(path))) for path in tree.files}
    wrong = [
        f"{file}:{line} has {name}"
        for file, handlers in found.items()
        if file not in allowed
        for line, name in handlers
    ]
    return wrong + [
        f"{file} has no broad except any more: take it off the list"
        for file in sorted(allowed)
        if not found.get(file)
    ]


def evaluated_text(tree: Tree) -> list[str]:
    """Calls that turn text into code."""
    return [
        f"{tree.name(path)}:{node.lineno} calls {node.func.id}"
        for path in tree.files
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("eval", "exec", "compile")
    ]


def too_long(tree: Tree, limit: int) -> list[str]:
    """Files of more lines than the limit."""
    lengths = {tree.name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in tree.files}
    return [f"{file} has {length} lines" for file, length in lengths.items() if length > limit]


def undescribed(tree: Tree) -> list[str]:
    """Folders with sources but without an `__init__.py` that says what the folder is for."""
    found = []
    for folder in sorted({path.parent for path in tree.files}):
        init = folder / "__init__.py"
        if not init.is_file():
            found.append(f"{tree.name(folder)} has no __init__.py")
        elif not ast.get_docstring(tree.parsed(init)):
            found.append(f"{tree.name(init)} has no docstring")
    return found


def unmirrored(tree: Tree, lanes: Collection[str], more: Collection[str] = ()) -> list[str]:
    """Rooms without a test file in the folder `tests/` has for them, and test folders without a room.

    `lanes` are the folders in `tests/` that stand for no package, `more` are further folders, by
    path within `tests/`, that stand for no room. Those that do not exist are reported too.
    """
    tests = tree.root / "tests"
    folders = {path.relative_to(tests).as_posix() for path in tests.rglob("*") if _sources(path)}
    kept = set(tree.packages) | {tree.name(path.parent) for path in tree.files}
    found = [
        f"tests/{folder} stands for no room"
        for folder in sorted(folders)
        if folder.partition("/")[0] not in lanes and folder not in more and folder not in kept
    ]
    found += [f"tests/{name} does not exist" for name in sorted({*lanes, *more} - folders)]
    for package in tree.packages:
        for room in sorted(path for path in (tree.root / package).iterdir() if _sources(path)):
            name = f"tests/{package}/{room.name}"
            if not any((tree.root / name).rglob("test_*.py")):
                found.append(f"{name} has no tests")
    return found


def _sources(path: Path) -> bool:
    return path.is_dir() and any(path.rglob("*.py"))


def _in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _room(module: str) -> str:
    """`lower` of `compiler.lower.cse`; empty for a package's own `__init__`."""
    return module.partition(".")[2].partition(".")[0]


def _broad(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                name = "bare except" if kind is None else last_name(kind)
                if name in ("bare except", "Exception", "BaseException"):
                    yield node.lineno, name


def _groups(edges: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for target in sorted(edges[node]):
            if target not in number:
                visit(target)
            if target in path:
                lowest[node] = min(lowest[node], lowest[target])
        if lowest[node] == number[node]:
            start = path.index(node)
            groups.append(path[start:])
            del path[start:]

    for node in edges:
        if node not in number:
            visit(node)
    return groups
