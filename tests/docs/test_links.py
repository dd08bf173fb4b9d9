"""What the pages name exists: links, files, modules and their names, `make` targets, commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "clusters/README.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (
        "enginebundle",
        "compiler",
        "orchestrator",
        "manifests",
        "clusters",
        "benchmarks",
    )
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".yaml", ".toml")
)

FOLDERS = "enginebundle|compiler|orchestrator|tests|benchmarks|docs|manifests|clusters"
PACKAGES = "enginebundle|compiler|orchestrator"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(rf"(?<![\w./~-])(?:{FOLDERS})/[\w./*-]*[\w*/]")
NAME = re.compile(rf"(?<![\w./])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?::\w+)?(?![\w/])")
"""A dotted name; `enginebundle.index/1` is the name of a format."""
TARGET = re.compile(r"(?:`|^    )make ([a-z0-9-]+)", re.MULTILINE)
COMMAND = re.compile(r"(?:`|^    )kiln ([a-z-]+)", re.MULTILINE)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def current(page: str) -> str:
    """A page's text without the past: in the changelog's tables, only the last column, which is now."""
    if page != "CHANGELOG.md":
        return text(page)
    return "\n".join(
        line.rstrip("| ").rpartition("|")[2] if line.lstrip().startswith("|") else line
        for line in text(page).splitlines()
    )


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(page: str) -> Iterator[str]:
    for link in LINK.findall(text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def exists(name: str) -> bool:
    """Whether the name stands for a file, a folder, a module without `.py`, or some of them. A part
    in capitals stands for anything, such as NAME."""
    pattern = re.sub(r"\b[A-Z]+\b", "*", name.rstrip("/"))
    return any(ROOT.glob(pattern)) or any(ROOT.glob(f"{pattern}.py"))


def defined(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something defined at the top of one."""
    path, rest = ROOT, name.replace(":", ".").split(".")
    while rest and (path / rest[0]).is_dir():
        path /= rest.pop(0)
    if rest and (path / f"{rest[0]}.py").is_file():
        path /= f"{rest.pop(0)}.py"
    else:
        path /= "__init__.py"
    return path.is_file() and (not rest or rest[0] in {"__file__", *_names(path)})


def _names(path: Path) -> set[str]:
    """Names that a module binds at its top, or lists in `__all__`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if names == {"__all__"} and isinstance(node.value, ast.List | ast.Tuple):
                names |= {i.value for i in node.value.elts if isinstance(i, ast.Constant)}
            found |= names
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    assert [name for name in FILE.findall(current(page)) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_names_that_a_page_mentions_are_defined(page: str) -> None:
    assert [name for name in NAME.findall(current(page)) if not defined(name)] == []


def test_files_and_names_in_the_sources_exist() -> None:
    """In code, comments and docstrings. What benchmarks write may not be there yet."""
    wrong = [
        f"{source}: {name}"
        for source in SOURCES
        for name in {*FILE.findall(text(source)), *NAME.findall(text(source))}
        if not (exists(name) if "/" in name else defined(name))
        and not name.startswith("benchmarks/results/")
    ]
    assert wrong == [], "\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_targets_and_commands_that_a_page_names_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))
    (commands,) = (a.choices for a in parser()._actions if a.dest == "==SUPPRESS==" and a.choices)
    assert set(TARGET.findall(text(page))) <= targets
    assert set(COMMAND.findall(text(page))) <= set(commands)


def test_a_wrong_name_is_seen() -> None:
    """The readers above find names, and tell right ones from wrong ones."""
    line = (
        "see `docs/format.md`, compiler/gone.py and a/docs/x; `compiler.program.load`, `make fuzz`."
    )
    assert FILE.findall(line) == ["docs/format.md", "compiler/gone.py"]
    assert NAME.findall(line) == ["compiler.program.load"]
    assert TARGET.findall(line) == ["fuzz"]
    assert LINK.findall("[a](docs/gone.md#b) [c](https://x.y)") == ["docs/gone.md#b", "https://x.y"]
    assert exists("docs/format.md")
    assert exists("docs/*.md")
    assert exists("compiler/lower")
    assert exists("orchestrator/cli")
    assert not exists("compiler/gone.py")
    assert defined("compiler.program.load")
    assert defined("compiler.program")
    assert defined("enginebundle.load")
    assert not defined("compiler.program.gone")
    assert not defined("compiler.gone")
    assert exists("benchmarks/results/NAME.json")
    assert NAME.findall("enginebundle.index/1, enginebundle.index.") == ["enginebundle.index"]
    assert "the-way-of-a-model" in anchors(ROOT / "docs/architecture.md")
