"""Each rule of the house finds what breaks it, in small trees made for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import page, rules
from tests.architecture.tree import Tree

ORDER = [["words"], ["low", "also_low"], ["high"], ["top"]]


def tree(root: Path, sources: dict[str, str]) -> Tree:
    """Files by path, without `.py`, in the packages `lib` and `app`; folders get a docstring."""
    for name, text in sources.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in ("lib", "app"):
        (root / package).mkdir(exist_ok=True)
        for folder in (root / package, *(p for p in (root / package).rglob("*") if p.is_dir())):
            if not (folder / "__init__.py").exists():
                (folder / "__init__.py").write_text('"""Something."""\n')
    return Tree(root, ("lib", "app"))


def upward(made: Tree) -> list[str]:
    return rules.upward(made, "lib", ORDER, {"beside": "low"})


def test_imports_are_found_wherever_they_run(tmp_path):
    text = """
import os, json.decoder
from typing import TYPE_CHECKING
from . import near
from .. import low
from ..low.one import f
if TYPE_CHECKING:
    import typed
else:
    import untyped
class C:
    import inside
    def method(self):
        import called
        importlib.import_module("named")
        import_module(f"lib.words.{self}")
        import_module(self)
"""
    made = tree(tmp_path, {"lib/high/one": text, "lib/low/one": ""})
    found = {i.name: i.when for i in made.imports if i.module == "lib.high.one"}
    assert found == {
        "os": "import",
        "json.decoder": "import",
        "typing.TYPE_CHECKING": "import",
        "lib.high.near": "import",
        "lib.low": "import",
        "lib.low.one.f": "import",
        "typed": "typing",
        "untyped": "import",
        "inside": "import",
        "called": "call",
        "named": "call",
        "lib.words": "call",
    }
    assert made.resolve("lib.low.one.f") == "lib.low.one"
    assert made.resolve("lib.high.near") == "lib.high"
    assert made.resolve("library.low") is None


def test_packages_go_one_way(tmp_path):
    made = tree(
        tmp_path, {"lib/low/one": "def f():\n    import app.main", "app/main": "import lib"}
    )
    assert rules.packages_upward(made, ("lib", "app")) == ["lib/low/one.py:2 imports app.main"]
    assert rules.packages_upward(made, ("app", "lib")) == ["app/main.py:1 imports lib"]


@pytest.mark.parametrize(
    "text",
    ["import lib.high.two", "from lib.high import two", "def f():\n    from ..high import g"],
)
def test_a_room_imports_none_above_it(tmp_path, text):
    made = tree(tmp_path, {"lib/low/one": text, "lib/high/two": "import lib.low.one"})
    (wrong,) = upward(made)
    assert wrong.startswith("lib/low/one.py:")
    assert wrong.endswith(": high is not below low")


def test_a_room_imports_none_beside_it(tmp_path):
    made = tree(
        tmp_path,
        {
            "lib/low/one": "import lib.also_low",
            "lib/also_low/two": "import lib.words",
            "lib/words": "",
        },
    )
    assert upward(made) == ["lib/low/one.py:1 imports lib.also_low: also_low is not below low"]


def test_a_room_does_not_import_the_top_of_its_package(tmp_path):
    made = tree(tmp_path, {"lib/low/one": "import lib", "lib/__init__": "from lib.low import one"})
    assert upward(made) == ["lib/low/one.py:1 imports lib: the package's top, from a room"]


def test_a_room_without_a_place_is_reported(tmp_path):
    made = tree(tmp_path, {"lib/attic/one": "", "lib/loose": ""})
    assert upward(made) == [
        "lib.attic has no place in the order",
        "lib.loose has no place in the order",
    ]


def test_a_room_that_stands_apart_sees_little_and_nothing_sees_it(tmp_path):
    made = tree(
        tmp_path,
        {
            "lib/beside/one": "import lib.low, lib.words, lib.high",
            "lib/high/two": "import lib.beside.one",
            "lib/low/three": "",
            "lib/words": "",
        },
    )
    assert sorted(upward(made)) == [
        "lib/beside/one.py:1 imports lib.high: high is not below beside",
        "lib/high/two.py:1 imports lib.beside.one: beside is not below high",
    ]


@pytest.mark.parametrize("first", ["import lib.low.two", "def f():\n    import lib.low.two"])
@pytest.mark.parametrize("second", ["from lib.low import one", "from .three import g"])
def test_circles_are_found_through_any_import(tmp_path, first, second):
    made = tree(
        tmp_path,
        {"lib/low/one": first, "lib/low/two": second, "lib/low/three": "import lib.low.one"},
    )
    (circle,) = rules.circles(made)
    assert {"lib.low.one", "lib.low.two"} <= set(circle.split(" <-> "))


def test_a_circle_for_type_checkers_only_has_to_be_listed(tmp_path):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.low import two"
    made = tree(tmp_path, {"lib/low/one": typed, "lib/low/two": "import lib.low.one"})
    assert rules.circles(made) == ["lib.low.one <-> lib.low.two"]
    assert rules.circles(made, [("lib.low.one", "lib.low.two")]) == []
    assert rules.circles(made, [("lib.low.two", "lib.low.one")]) == [
        "lib.low.one <-> lib.low.two",
        "lib.low.two no longer imports lib.low.one: take it off the list",
    ]


def test_no_circle_where_imports_only_go_down(tmp_path):
    made = tree(tmp_path, {"lib/low/one": "import os", "lib/high/two": "from lib.low import one"})
    assert rules.circles(made) == []


def test_loose_files(tmp_path):
    made = tree(tmp_path, {"lib/util": "", "lib/low/one": ""})
    assert rules.loose(made, "lib", {"__init__.py"}) == ["lib/util.py is in no room"]
    assert rules.loose(made, "lib", {"__init__.py", "util.py", "gone.py"}) == [
        "lib/gone.py does not exist"
    ]


def test_a_library_in_one_file(tmp_path):
    made = tree(
        tmp_path, {"lib/low/one": "from ray import get", "lib/low/two": "import raylib, ray.x"}
    )
    assert rules.outside(made, "ray", {"lib/low/one.py"}) == ["lib/low/two.py:1 imports ray.x"]
    assert rules.outside(made, "raylib", {"lib/low/one.py", "lib/low/two.py"}) == [
        "lib/low/one.py no longer imports raylib: take it off the list"
    ]
    assert rules.imports_of(made.imports, {"raylib", "pickle"}) == [
        "lib/low/two.py:1 imports raylib"
    ]


def test_a_sealed_folder(tmp_path):
    made = tree(
        tmp_path,
        {
            "lib/low/inner/one": "from lib.low.inner import two",
            "lib/low/inner/two": "",
            "lib/low/door": "from lib.low.inner import one",
            "lib/low/other": "def f():\n    from lib.low import inner",
            "app/main": "import lib.low.inner.two",
        },
    )
    assert sorted(rules.unsealed(made, "lib.low.inner", {"lib/low/door.py"})) == [
        "app/main.py:1 imports lib.low.inner.two",
        "lib/low/other.py:2 imports lib.low.inner",
    ]


def test_broad_excepts(tmp_path):
    template = "try:\n    pass\nexcept {}:\n    pass\n"
    made = tree(
        tmp_path,
        {
            "lib/low/one": template.format("(ValueError, builtins.Exception)"),
            "lib/low/two": template.format("BaseException as error"),
            "lib/low/three": "try:\n    pass\nexcept:\n    pass\n",
            "lib/low/four": template.format("(OSError, ValueError)"),
        },
    )
    allowed = {"lib/low/two.py", "lib/low/four.py"}
    assert sorted(rules.broad_excepts(made, allowed)) == [
        "lib/low/four.py has no broad except any more: take it off the list",
        "lib/low/one.py:3 has Exception",
        "lib/low/three.py:3 has bare except",
    ]


def test_evaluated_text(tmp_path):
    made = tree(tmp_path, {"lib/low/one": "re.compile('x')\nx.eval()\neval('1')"})
    assert rules.evaluated_text(made) == ["lib/low/one.py:3 calls eval"]


def test_long_files(tmp_path):
    made = tree(tmp_path, {"lib/low/one": "x = 1\n" * 4, "lib/low/two": "x = 1\n" * 3})
    assert rules.too_long(made, 3) == ["lib/low/one.py has 4 lines"]


def test_rooms_without_a_word_about_them(tmp_path):
    made = tree(tmp_path, {"lib/low/one": "", "lib/low/__init__": "x = 1", "lib/high/deep/two": ""})
    (tmp_path / "lib/high/deep/__init__.py").unlink()
    assert rules.undescribed(made) == [
        "lib/high/deep has no __init__.py",
        "lib/low/__init__.py has no docstring",
    ]


def test_tests_that_stand_for_no_room_and_rooms_without_tests(tmp_path):
    made = tree(
        tmp_path,
        {
            "lib/low/deep/one": "",
            "lib/high/two": "",
            "tests/lib/low/deep/test_one": "",
            "tests/lib/attic/test_two": "",
            "tests/e2e/farm/models": "",
            "tests/other/test_three": "",
        },
    )
    assert rules.unmirrored(made, {"e2e", "gpu"}) == [
        "tests/lib/attic stands for no room",
        "tests/other stands for no room",
        "tests/gpu does not exist",
        "tests/lib/high has no tests",
    ]
    assert rules.unmirrored(made, {"e2e", "other"}, {"lib/attic"}) == [
        "tests/lib/high has no tests"
    ]


def test_a_block_of_the_page():
    text = (
        "# Page\n\n## Order\n\nText.\n\n```text\nlib   a, b <\n      c\n\napp   d\n```\n\n## More\n"
    )
    assert page.block(text, "Order") == {"lib": "a, b < c", "app": "d"}
    assert page.order("a, b < c") == [["a", "b"], ["c"]]
    for heading in ("More", "Absent"):
        with pytest.raises(ValueError, match="expected a fenced block"):
            page.block(text, heading)
