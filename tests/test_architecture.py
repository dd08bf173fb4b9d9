"""The borders between the packages, held over every import in them, those inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("enginebundle", "compiler", "orchestrator")

HEAVY = {"torch", "tensorrt", "tensorrt_rtx", "ray", "pydantic", "pyarrow", "numpy", "safetensors"}
"""What `import enginebundle` must not bring in: each is imported on first use."""

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}

BROAD = {
    "orchestrator/worker/child.py",  # a step's own process: turns anything into a value
    # Where the user's own code runs, or torch's export of it, which raise what they like: each
    # turns it into a typed refusal that quotes the cause.
    "compiler/trace/truths.py",
    "compiler/lower/decompose.py",
    "compiler/trace/load.py",
    "compiler/trace/export.py",
    "compiler/goldens/inputs.py",
    "compiler/goldens/goldens.py",
}
"""Where `except Exception` may stand."""


@dataclass(frozen=True)
class Import:
    """One import: by which file, at which line, of what, and whether a mere `import file` runs it."""

    file: str
    line: int
    module: str
    at_import: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> Iterator[Import]:
    """Every import statement, and every call of import_module or __import__ on a literal."""
    file = path.relative_to(ROOT).as_posix()
    stack: list[tuple[ast.AST, bool]] = [(tree(path), True)]
    while stack:
        node, at_import = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_import)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            # `from a import b` may import the module a.b.
            for alias in node.names:
                yield Import(file, node.lineno, f"{base}.{alias.name}", at_import)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Import(file, node.lineno, argument.value, at_import)
        for child in ast.iter_child_nodes(node):
            stack.append((child, at_import and not _later(node)))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _later(node: ast.AST) -> bool:
    """Whether what stands inside runs after the import, or only for a type checker."""
    if isinstance(node, ast.If):
        return _name(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


IMPORTS = {package: [i for p in sources(package) for i in imports_of(p)] for package in PACKAGES}
ALL = [found for package in PACKAGES for found in IMPORTS[package]]


def none(wrong: list[Import]) -> None:
    assert wrong == [], "\n" + "\n".join(map(str, wrong))


def test_there_is_something_to_check() -> None:
    assert all(len(sources(package)) > 3 for package in PACKAGES)
    assert any(not found.at_import for found in ALL)


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("enginebundle", {"compiler", "orchestrator"}),
        ("compiler", {"orchestrator"}),
    ],
)
def test_packages_import_in_one_direction(package: str, above: set[str]) -> None:
    none([found for found in IMPORTS[package] if found.top in above])


def test_the_loader_imports_heavy_libraries_on_first_use_only() -> None:
    none([found for found in IMPORTS["enginebundle"] if found.at_import and found.top in HEAVY])


def test_the_loader_never_needs_the_farm_s_libraries() -> None:
    none([found for found in IMPORTS["enginebundle"] if found.top in {"ray", "pydantic", "yaml"}])


def test_ray_is_imported_in_one_file() -> None:
    none([i for i in ALL if i.top == "ray" and i.file != "orchestrator/run/ray_executor.py"])


def test_hashlib_is_imported_in_one_file() -> None:
    none([i for i in ALL if i.top == "hashlib" and i.file != "enginebundle/format/digest.py"])


def test_pydantic_stays_at_the_edge_of_the_manifest() -> None:
    edge = {"orchestrator/manifest/schema.py", "orchestrator/manifest/load.py"}
    none([i for i in ALL if i.top == "pydantic" and i.file not in edge])


def test_nothing_pickles() -> None:
    none([found for found in ALL if found.top in PICKLES])


def test_packages_import_no_tests_nor_benchmarks() -> None:
    none([found for found in ALL if found.top in {"tests", "benchmarks", "manifests", "pytest"}])


def handlers(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                name = "bare except" if kind is None else _name(kind)
                if name in ("bare except", "Exception", "BaseException"):
                    yield node.lineno, name


def test_broad_excepts_stand_in_named_files_only() -> None:
    found = {
        f"{path.relative_to(ROOT).as_posix()}:{line} has {name}"
        for package in PACKAGES
        for path in sources(package)
        for line, name in handlers(path)
        if path.relative_to(ROOT).as_posix() not in BROAD
    }
    assert found == set(), "\n" + "\n".join(sorted(found))


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, node.func.id


def test_nothing_evaluates_text() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} calls {name}"
        for package in PACKAGES
        for path in sources(package)
        for line, name in calls(path)
        if name in ("eval", "exec", "compile")
    ]
    assert found == []


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("enginebundle", HEAVY | {"transformers", "yaml", "compiler", "orchestrator"}),
        ("compiler", {"ray", "orchestrator", "pydantic"}),
        ("orchestrator", {"ray", "torch", "tensorrt", "tensorrt_rtx"}),
    ],
)
def test_importing_a_package_in_a_fresh_process(package: str, forbidden: set[str]) -> None:
    program = f"import sys, {package}; print(*sorted({forbidden!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
