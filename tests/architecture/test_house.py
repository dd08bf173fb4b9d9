"""The rules of the house, held over this repository. The order of the rooms is read from
docs/architecture.md; tests/architecture/test_rules.py shows that each rule can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture import page, rules
from tests.architecture.tree import Tree

PACKAGES = ("enginebundle", "compiler", "orchestrator")
TREE = Tree(page.ROOT, PACKAGES)

ORDER = {
    package: page.order(line)
    for package, line in page.block(page.PAGE.read_text(), "Import order").items()
}
APART = {"compiler": {"recipes": "trace"}}
"""A room that stands beside the order, and the highest room that it may import."""

TOPS = {
    "enginebundle": {"__init__.py", "__main__.py", "errors.py", "py.typed"},
    "compiler": {"__init__.py", "pipeline.py", "program.py", "refused.py"},
    "orchestrator": {"__init__.py", "cli.py"},
}
"""All that may lie directly in a package."""

LONGEST = 300

HEAVY = {
    "torch",
    "tensorrt",
    "tensorrt_rtx",
    "ray",
    "pydantic",
    "pyarrow",
    "numpy",
    "obstore",
    "safetensors",
}
"""What `import enginebundle` must not bring in: each is imported on first use."""

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}

BROAD = {
    "enginebundle/runtimes/torch_step.py",  # an operator raises what it likes
    "enginebundle/serve/watch.py",  # what can't be loaded leaves what serves in place
    "orchestrator/worker/child.py",  # a step's own process: turns anything into a value
    "orchestrator/run/ray_executor.py",  # Ray starts, or raises what it likes
    "compiler/network/evaluate.py",  # torch computes a layer, or raises what it likes
    # Where the user's own code runs, or torch's export of it. Both raise what they like; each of
    # these turns that into a typed refusal which quotes the cause.
    "compiler/trace/truths.py",
    "compiler/lower/decompose.py",
    "compiler/trace/load.py",
    "compiler/trace/agreement.py",
    "compiler/trace/branches.py",
    "compiler/trace/export.py",
    "compiler/goldens/inputs.py",
    "compiler/goldens/goldens.py",
}
"""Where `except Exception` may stand."""

TYPING_ONLY: set[tuple[str, str]] = set()
"""Imports for type checkers that close a circle and can't be avoided: (importing, imported)."""

LANES = {
    "architecture",
    "attacks",
    "contract",
    "docs",
    "e2e",
    "examples",
    "fuzz",
    "gpu",
    "opinfo",
    "s3",
}
"""Folders in tests/ that stand for no package: each crosses several, or has a lane of its own."""
MORE_TESTS = {"orchestrator/builders", "e2e/farm"}
"""Folders of models that tests build."""


def none(wrong: list[str]) -> None:
    assert wrong == [], "\n" + "\n".join(wrong)


def test_there_is_something_to_check() -> None:
    assert all(sum(f.is_relative_to(page.ROOT / p) for f in TREE.files) > 3 for p in PACKAGES)
    assert {found.when for found in TREE.imports} == {"import", "call", "typing"}
    assert ORDER.keys() == set(PACKAGES)


def test_packages_import_in_one_direction() -> None:
    none(rules.packages_upward(TREE, PACKAGES))


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_downward_only(package: str) -> None:
    none(rules.upward(TREE, package, ORDER[package], APART.get(package, {})))


def test_no_modules_import_each_other() -> None:
    none(rules.circles(TREE, TYPING_ONLY))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_is_in_a_room(package: str) -> None:
    none(rules.loose(TREE, package, TOPS[package]))


def test_every_room_says_what_it_is_for() -> None:
    none(rules.undescribed(TREE))


def test_files_are_short() -> None:
    none(rules.too_long(TREE, LONGEST))


def test_tests_mirror_the_packages() -> None:
    none(rules.unmirrored(TREE, LANES, MORE_TESTS))


@pytest.mark.parametrize("folder", ["compiler.convert.linalg", "compiler.convert.special"])
def test_only_the_library_of_converters_imports_its_families(folder: str) -> None:
    none(rules.unsealed(TREE, folder, {"compiler/convert/library.py"}))


def test_the_loader_imports_heavy_libraries_on_first_use_only() -> None:
    at_import = [found for found in TREE.of("enginebundle") if found.when == "import"]
    none(rules.imports_of(at_import, HEAVY))


def test_the_loader_never_needs_the_farm_s_libraries() -> None:
    none(rules.imports_of(TREE.of("enginebundle"), {"ray", "pydantic", "yaml"}))


def test_ray_is_imported_in_one_file() -> None:
    none(rules.outside(TREE, "ray", {"orchestrator/run/ray_executor.py"}))


def test_hashlib_is_imported_in_one_file() -> None:
    none(rules.outside(TREE, "hashlib", {"enginebundle/format/digest.py"}))


def test_pydantic_stays_at_the_edge_of_the_manifest() -> None:
    edge = {"orchestrator/manifest/schema.py", "orchestrator/manifest/load.py"}
    none(rules.outside(TREE, "pydantic", edge))


def test_nothing_pickles() -> None:
    none(rules.imports_of(TREE.imports, PICKLES))


def test_packages_import_no_tests_nor_benchmarks() -> None:
    none(rules.imports_of(TREE.imports, {"tests", "benchmarks", "manifests", "pytest"}))


def test_broad_excepts_stand_in_named_files_only() -> None:
    none(rules.broad_excepts(TREE, BROAD))


def test_nothing_evaluates_text() -> None:
    none(rules.evaluated_text(TREE))


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("enginebundle", HEAVY | {"transformers", "yaml", "compiler", "orchestrator"}),
        ("compiler", {"ray", "orchestrator", "pydantic"}),
        ("compiler.pipeline", {"torch._dynamo", "torch._inductor", "sympy"}),  # a build needs none
        ("orchestrator", {"ray", "torch", "tensorrt", "tensorrt_rtx"}),
        ("orchestrator.manifest", {"ray", "torch", "tensorrt", "tensorrt_rtx"}),
        ("orchestrator.plan", {"ray", "torch", "tensorrt", "tensorrt_rtx"}),
    ],
)
def test_importing_a_package_in_a_fresh_process(modules: str, forbidden: set[str]) -> None:
    """A package is imported alone, a room with every module in it."""
    names = [modules] if "." not in modules else sorted(_within(modules))
    program = f"import sys, {', '.join(names)}; print(*sorted({forbidden!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=page.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def _within(room: str) -> list[str]:
    return [name for name in TREE.modules if name == room or name.startswith(f"{room}.")]


def test_every_public_name_of_the_loader_can_be_had() -> None:
    """They come on first use, from modules that `enginebundle` names as text."""
    program = "import enginebundle as e; print(*[n for n in e.__all__ if getattr(e, n) is None])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=page.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
