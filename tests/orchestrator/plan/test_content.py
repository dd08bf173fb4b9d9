"""Digests of the code and data behind a manifest: found, never imported, the same wherever it lies."""

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
from orchestrator.manifest.errors import ManifestError
from orchestrator.manifest.model import Manifest, Model
from orchestrator.plan import content, local_installs
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


def test_a_plain_module_is_known_by_its_folder(folder: Path) -> None:
    assert of(folder)["source"]["beside"].keys() == {
        "helpers/__init__.py",
        "helpers/data/vocab.txt",
        "more.py",
        "weights.bin",
        "zoo.py",
    }


def _edit(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("something else")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (_edit("zoo.py"), True),
        (_edit("more.py"), True),
        (_edit("new.py"), True),
        (_edit("weights.bin"), True),
        (_edit("helpers/data/vocab.txt"), True),
        (lambda folder: (folder / "more.py").rename(folder / "less.py"), True),
        (lambda folder: (folder / "more.py").unlink(), True),
        (_edit("m.yaml"), False),
        (_edit("store/big.bin"), False),
        (_edit("__pycache__/zoo.pyc"), False),
        (_edit(".hidden"), False),
        (lambda folder: os.utime(folder / "zoo.py", (1, 1)), False),
    ],
)
def test_what_counts(folder: Path, change: Callable[[Path], object], counts: bool) -> None:
    before = of(folder)
    change(folder)
    assert (of(folder) != before) is counts


def test_the_place_does_not_count(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "deeper")
    assert of(folder) == of(tmp_path / "elsewhere" / "deeper")


def test_a_package_is_known_by_its_whole_tree(folder: Path) -> None:
    before = of(folder, "helpers.text:make")
    assert before["source"]["package"][0].keys() == {"__init__.py", "data/vocab.txt"}
    _edit("zoo.py")(folder)
    assert of(folder, "helpers.text:make") == before
    _edit("helpers/data/vocab.txt")(folder)
    assert of(folder, "helpers.text:make") != before


def test_a_big_tree_is_one_digest(folder: Path) -> None:
    for number in range(content.LISTED):
        (folder / "helpers" / f"{number}.py").write_text("")
    before = of(folder, "helpers:make")["source"]["package"]
    assert len(before) == 1
    assert before[0].startswith("sha256:")
    _edit("helpers/7.py")(folder)
    assert of(folder, "helpers:make")["source"]["package"] != before


def test_links_are_followed_once(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("a")
    (folder / "helpers" / "link.py").symlink_to(outside)
    (folder / "helpers" / "loop").symlink_to(folder / "helpers")
    (folder / "helpers" / "dangling").symlink_to(tmp_path / "nowhere")
    before = of(folder)
    outside.write_text("bb")
    assert of(folder) != before


def test_virtual_environments_are_left_out(folder: Path) -> None:
    before = of(folder)
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "env" / "x.py").write_text("")
    assert of(folder) == before


def test_the_manifest_s_folder_comes_before_what_is_installed(folder: Path) -> None:
    (folder / "yaml.py").write_text("mine = 1")
    assert "yaml.py" in of(folder, "yaml:make")["source"]["beside"]


def test_installed_modules_and_packages_are_found(folder: Path) -> None:
    six = of(folder, "typing_extensions:make")["source"]["beside"]
    assert six.keys() == {"typing_extensions.py"}  # not all of site-packages
    assert of(folder, "hypothesis.strategies:make")["source"]["package"]
    assert of(folder, "sys:make")["source"]["origin"] == "built-in"


def test_files_named_by_arguments_count(folder: Path) -> None:
    kwargs = (("weights", "store/big.bin"), ("depth", 2), ("nested", {"list": ["m.yaml", "text"]}))
    before = of(folder, kwargs=kwargs)
    assert before["source"]["arguments"].keys() == {"weights", "nested.list[0]"}
    _edit("store/big.bin")(folder)
    assert of(folder, kwargs=kwargs) != before


def test_files_of_the_manifest_count(folder: Path) -> None:
    files = (folder / "store" / "big.bin", folder / "store")
    before = of(folder, files=files)
    assert before["files"].keys() == {"big.bin", "store"}
    _edit("store/big.bin")(folder)
    assert of(folder, files=files) != before


def test_program_and_golden_files_are_known_by_content(folder: Path) -> None:
    model = replace(
        MODEL,
        source=Source(program=str(folder / "weights.bin"), trusted=True),
        goldens=GoldenSource(file=str(folder / "store" / "big.bin")),
    )
    found = content.content(model)
    assert found["source"].keys() == found["goldens"].keys() == {"file"}
    assert found["source"] != found["goldens"]


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
    first = content.file_digest(file)
    with monkeypatch.context() as patch:
        patch.setattr(content, "digest_file", lambda path: pytest.fail("read again"))
        assert content.file_digest(file) == first
    file.write_bytes(b"b" * 1000)
    os.utime(file, ns=(1, 1))
    assert content.file_digest(file) != first


def test_this_installation() -> None:
    here = installed()
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert "pydantic" in here.distributions.to_json()
    assert {name for name, _ in here.packages} == {"compiler", "enginebundle", "orchestrator"}
    assert "torch" in here.for_build("rtx")["distributions"]
    assert "pydantic" not in here.for_build("rtx")["distributions"]
    assert installed() == here


def test_an_editable_installation_is_known_by_its_files(tmp_path: Path) -> None:
    """A real one, in an environment of its own, asked in a process of its own."""
    project = tmp_path / "project"
    (project / "shapes").mkdir(parents=True)
    (project / "shapes" / "__init__.py").write_text("side = 1")
    site = tmp_path / "site"
    info = site / "shapes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(
        f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}'
    )
    copied = site / "copied-1.0.dist-info"
    copied.mkdir()
    (copied / "METADATA").write_text("Metadata-Version: 2.1\nName: copied\nVersion: 1.0\n")
    (copied / "direct_url.json").write_text('{"url": "file:///somewhere", "dir_info": {}}')
    (copied / "RECORD").write_text("copied/__init__.py,sha256=abc,3\n../../bin/x,sha256=def,3\n")

    def ask() -> str:
        program = "from orchestrator.plan.content import local_content; print(local_content())"
        path = os.pathsep.join([str(site), str(Path(local_installs.__file__).parents[2])])
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    before = ask()
    assert "'shapes': 'sha256:" in before
    assert "'copied': 'sha256:" in before
    (copied / "RECORD").write_text("copied/__init__.py,sha256=abc,3\n../../bin/x,sha256=xyz,3\n")
    assert ask() == before
    (copied / "RECORD").write_text("copied/__init__.py,sha256=abd,3\n")
    changed = ask()
    assert changed != before
    (project / "shapes" / "__init__.py").write_text("side = 2")
    assert ask() != changed


def test_code_that_replaces_pieces_is_in_and_must_be_there(folder: Path) -> None:
    own = (Replacement("module", "Block", "with", "layers:fast"),)
    source = Source(entrypoint="zoo:make", search_path=(str(folder),))
    manifest = Manifest((replace(MODEL, source=source, replace=own),))
    with pytest.raises(ManifestError, match=r"replace\[0\].*no module named 'layers'"):
        content.contents(manifest)
    (folder / "layers.py").write_text("a = 1")
    before = of(folder, replace=own)
    assert before["replace"]["layers:fast"]["module"] == "layers"
    (folder / "layers.py").write_text("a = 2")
    assert of(folder, replace=own)["replace"] != before["replace"]


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
    program = "import sys, orchestrator.worker.child, orchestrator.worker.steps, compiler.pipeline"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; print(*sys.modules)"],
        cwd=Path(content.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(content.STEP_IMPORTS) <= set(done.stdout.split())
