"""What a manifest names outright: found, never imported, the same wherever it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.goldens.source import GoldenSource
from compiler.replace.replacement import Replacement
from compiler.trace.source import Source
from enginebundle.format.digest import digest_bytes
from orchestrator.manifest.errors import ManifestError
from orchestrator.manifest.model import Manifest, Model
from orchestrator.plan import content
from orchestrator.plan.inputs import now
from orchestrator.plan.installed import installed
from tests.orchestrator.examples import MODEL as WHOLE

MODEL = replace(WHOLE, replace=())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest's folder: a plain module that must not be imported, a package, data, leftovers."""
    home = tmp_path / "home"
    (home / "helpers" / "data").mkdir(parents=True)
    (home / "helpers" / "__init__.py").write_text("")
    (home / "helpers" / "data" / "vocab.txt").write_text("a b c")
    (home / "zoo.py").write_text("raise SystemExit('imported')")
    (home / "more.py").write_text("x = 1")
    (home / "weights.bin").write_bytes(b"1234")
    (home / "m.yaml").write_text("models: []")
    (home / "store").mkdir()
    (home / "store" / "big.bin").write_bytes(b"0" * 100)
    (home / "__pycache__").mkdir()
    (home / "__pycache__" / "zoo.pyc").write_bytes(b"0")
    return home


def of(folder: Path, entrypoint: str = "zoo:make", **changes: Any) -> dict[str, Any]:
    source = Source(
        entrypoint=entrypoint, search_path=(str(folder),), kwargs=changes.pop("kwargs", ())
    )
    model = replace(MODEL, source=source, goldens=GoldenSource(seed=0, cases=1), **changes)
    return content.content(model)


def _edit(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("something else")


@pytest.mark.parametrize(
    "name",
    [
        "zoo.py",
        "more.py",
        "new.py",
        "weights.bin",
        "helpers/data/vocab.txt",
        "m.yaml",
        "store/big.bin",
    ],
)
def test_what_lies_beside_the_code_does_not_count_by_itself(folder: Path, name: str) -> None:
    """Only what the code is seen to read does: tests/orchestrator/worker/recording."""
    before = of(folder)
    _edit(name)(folder)
    assert of(folder) == before
    assert of(folder, kwargs=(("weights", name),)) == before


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (_edit("helpers/data/vocab.txt"), True),
        (_edit("helpers/new.py"), True),
        (lambda folder: (folder / "helpers/__init__.py").unlink(), True),
        (lambda folder: (folder / "helpers/__init__.py").rename(folder / "helpers/a.py"), True),
        (_edit("helpers/.hidden"), False),
        (_edit("zoo.py"), False),
        (lambda folder: os.utime(folder / "helpers/__init__.py", (1, 1)), False),
    ],
)
def test_what_counts_of_a_named_folder(
    folder: Path, change: Callable[[Path], object], counts: bool
) -> None:
    before = of(folder, files=(folder / "helpers",))
    change(folder)
    assert (of(folder, files=(folder / "helpers",)) != before) is counts


def test_files_of_one_name_are_told_apart(folder: Path) -> None:
    for part in ("a", "b"):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(part)
    files = (folder / "a/config.json", folder / "b/config.json")
    before = of(folder, files=files)
    assert before["files"].keys() == {"a/config.json", "b/config.json"}
    for part in ("a", "b"):
        _edit(f"{part}/config.json")(folder)
        assert of(folder, files=files) != before
        before = of(folder, files=files)


def test_a_file_outside_of_the_manifest_s_folder_is_known_as_it_is_spelled(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("a")
    for file, name in ((folder / "../outside.txt", "../outside.txt"), (outside, str(outside))):
        assert of(folder, files=(file,))["files"].keys() == {name}


def test_the_place_does_not_count(folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(folder, there)
    here = of(folder, files=(folder / "store/big.bin",))
    assert here == of(there, files=(there / "store/big.bin",))


def test_another_place_to_search_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports look there before they find what they found so far."""
    before = of(folder)
    own = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{own}{os.pathsep}{folder / 'helpers'}")
    assert of(folder) != before


def test_links_are_followed_once(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("a")
    (folder / "helpers" / "link.py").symlink_to(outside)
    (folder / "helpers" / "loop").symlink_to(folder / "helpers")
    (folder / "helpers" / "dangling").symlink_to(tmp_path / "nowhere")
    before = of(folder, files=(folder / "helpers",))
    outside.write_text("bb")
    assert of(folder, files=(folder / "helpers",)) != before


def test_virtual_environments_are_left_out(folder: Path) -> None:
    before = of(folder, files=(folder,))
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "env" / "x.py").write_text("")
    assert of(folder, files=(folder,)) == before


@pytest.mark.parametrize(
    "entrypoint", ["typing_extensions:make", "hypothesis.strategies:make", "sys:make"]
)
def test_installed_modules_and_packages_are_found(folder: Path, entrypoint: str) -> None:
    assert of(folder, entrypoint)["files"] == {}


def test_program_and_golden_files_are_known_by_content(folder: Path) -> None:
    model = replace(
        MODEL,
        source=Source(program=str(folder / "weights.bin"), trusted=True),
        goldens=GoldenSource(file=str(folder / "store" / "big.bin")),
    )
    found = content.content(model)
    assert found["source"] == digest_bytes(b"1234")
    assert found["goldens"] == digest_bytes(b"0" * 100)


def test_everything_absent_is_named_at_once(folder: Path) -> None:
    def named(name: str, **changes: Any) -> Model:
        return replace(MODEL, name=name, **changes)

    models = (
        named("a", source=Source(entrypoint="nosuch.thing:make", search_path=(str(folder),))),
        named("b", source=Source(program=str(folder / "no.pt2")), files=(folder / "no.txt",)),
        named(
            "c",
            source=Source(entrypoint="zoo:m", search_path=(str(folder),)),
            goldens=GoldenSource(file=str(folder / "no.safetensors")),
        ),
        named("d", source=Source(entrypoint="__main__:m", search_path=(str(folder),))),
    )
    with pytest.raises(ManifestError) as caught:
        content.contents(Manifest(models, folder))
    text = str(caught.value)
    assert f"a.source.entrypoint: no module named 'nosuch'; looked in {folder} and then" in text
    assert f"b.source.program: no file {folder}/no.pt2; expected one there" in text
    assert f"b.files: no file or folder {folder}/no.txt; expected one there" in text
    assert f"c.goldens.file: no file {folder}/no.safetensors; expected one there" in text
    assert "d.source.entrypoint: no module named '__main__'" in text


def test_a_file_is_read_once_a_process_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"a" * 1000)
    first, state = now.file_digest(file), file.stat()
    with monkeypatch.context() as patch:
        patch.setattr(now, "digest_file", lambda path: pytest.fail("read again"))
        assert now.file_digest(file) == first
    file.write_bytes(b"b" * 1000)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert now.file_digest(file) != first, "the same size and time do not make the same content"


def test_this_installation() -> None:
    here = installed()
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert "pydantic" in here.distributions.to_json()
    assert {name for name, _ in here.packages} == {"compiler", "enginebundle", "orchestrator"}
    assert "torch" in here.for_build("rtx")["distributions"]
    assert "pydantic" not in here.for_build("rtx")["distributions"]
    assert installed() == here


@pytest.mark.parametrize(
    "own",
    [
        {"replace": (Replacement("module", "Block", "with", "layers:fast"),)},
        {"plugins": ("layers:register",)},
    ],
    ids=["replace", "plugins"],
)
def test_code_that_a_later_step_runs_must_be_there(folder: Path, own: dict[str, Any]) -> None:
    source = Source(entrypoint="zoo:make", search_path=(str(folder),))
    manifest = Manifest((replace(MODEL, source=source, **own),))
    with pytest.raises(ManifestError, match=r"(replace|plugins)\[0\].*no module named 'layers'"):
        content.contents(manifest)
    (folder / "layers.py").write_text("a = 1")
    content.contents(manifest)


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("compiler", "compiler.py"),
        ("orchestrator", "orchestrator/__init__.py"),
        ("compiler.models", "compiler/models.py"),
        ("numpy", "numpy.py"),
        ("sympy", "sympy.py"),
    ],
)
def test_a_module_that_an_installed_one_hides_is_refused(
    folder: Path, module: str, own: str
) -> None:
    name = module.partition(".")[0]
    (folder / own).parent.mkdir(exist_ok=True)
    (folder / own).write_text("def make():\n    pass\n")
    source = Source(entrypoint=f"{module}:make", search_path=(str(folder),))
    with pytest.raises(ManifestError) as caught:
        content.contents(Manifest((replace(MODEL, source=source),)))
    beside = folder / own.partition("/")[0]
    start = (
        f"m.source.entrypoint: module {name!r} beside the manifest ({beside}) is shadowed by the "
    )
    assert f"{start}installed package {name} at " in str(caught.value)
    assert str(caught.value).endswith("; rename it")


def test_what_a_step_has_imported_before_the_users_code() -> None:
    program = (
        "import sys, orchestrator.worker.child, orchestrator.worker.steps, compiler.pipeline, "
        "compiler.lower, compiler.trace.export"  # which trace_model imports first
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(*sys.modules)"],
        cwd=Path(content.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(content.STEP_IMPORTS) <= set(done.stdout.split())
