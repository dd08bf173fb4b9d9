"""A small workspace whose nine models read in every way that we know, and edits to it.

Each model's weights come from the text that its `read` returns. `Workspace.state` says, without any
recording, what that text must be: so a test knows which models an edit reaches, and what they become.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

HEAD = """
from pathlib import Path
HERE = Path(__file__).resolve().parent
def make():
    import hashlib, torch
    draws = torch.Generator().manual_seed(int(hashlib.sha256(read().encode()).hexdigest()[:8], 16))
    model = torch.nn.Linear(4, 3)
    for weights in model.parameters():
        weights.data.copy_(torch.randn(weights.shape, generator=draws))
    return model
"""
SOURCES: Mapping[str, str] = {
    # A file beside a plain module.
    "ws/plain.py": HEAD + "def read():\n    return (HERE / 'checkpoints/w.txt').read_text()\n",
    # A package that imports its sibling.
    "ws/pkg/__init__.py": "",
    "ws/pkg/models.py": HEAD
    + "def read():\n    from common import scale\n    return scale.VALUE\n",
    "ws/common/__init__.py": "",
    # A module found through PYTHONPATH.
    "ws/through.py": HEAD + "def read():\n    import shared\n    return shared.VALUE\n",
    # Native code reads it: no audit event is raised.
    "ws/native.py": HEAD
    + "def read():\n    import ctypes\n    libc, room = ctypes.CDLL(None), ctypes.create_string_buffer(99)\n"
    "    file = libc.open(str(HERE / 'a/config.json').encode(), 0)\n"
    "    libc.read(file, room, 99)\n    libc.close(file)\n    return room.value.decode()\n",
    # A folder is listed.
    "ws/listed.py": HEAD
    + "def read():\n    return ','.join(p.name + p.read_text() for p in sorted(HERE.glob('shards/*.txt')))\n",
    # An environment variable.
    "ws/environment.py": HEAD
    + "def read():\n    import os\n    return os.environ.get('SCALE', 'unset')\n",
    # What is absent counts: a module and a file that are looked for first.
    "ws/optional.py": HEAD
    + "def read():\n    try:\n        import extra\n    except ImportError:\n        value = 'none'\n"
    "    else:\n        value = extra.VALUE\n"
    "    first = next(p for p in (HERE / 'conf/local.txt', HERE / 'conf/default.txt') if p.exists())\n"
    "    return value + first.read_text()\n",
    # An installed distribution, by version.
    "ws/distributed.py": HEAD
    + "def read():\n    import importlib.metadata, shapes\n    return importlib.metadata.version('shapes')\n",
    # A link, resolved before it is read through.
    "ws/linked.py": HEAD
    + "def read():\n    return ((HERE / 'current').resolve() / 'w.txt').read_text()\n",
}
TEXTS = ("checkpoints/w.txt", "a/config.json", "conf/default.txt", "v1/w.txt", "v2/w.txt")
UNREAD = ("b/config.json", "notes.md", "common/unused.py", "checkpoints/old.txt", "beside.bin")
MODELS = {
    "plain": "plain:make", "package": "pkg.models:make", "through": "through:make",
    "native": "native:make", "listed": "listed:make", "environment": "environment:make",
    "optional": "optional:make", "distributed": "distributed:make", "linked": "linked:make",
}  # fmt: skip


class Workspace:
    """The workspace in `root`, with its own site-packages and a folder on PYTHONPATH."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)
        self.variables: dict[str, str] = {}
        self.order = list(MODELS)
        for name, text in SOURCES.items():
            self.write(name, text)
        for name in (*TEXTS, *UNREAD, "shards/0.txt", "shards/1.txt"):
            self.write(f"ws/{name}", name)
        self.write("ws/common/scale.py", "VALUE = 'first'\n")
        self.write("lib/shared.py", "VALUE = 'first'\n")
        self.write("lib/spare.py", "VALUE = 'spare'\n")
        (root / "ws/current").symlink_to("v1")
        for name in ("shapes", "linter"):
            self.install(name, "1.0")
        self.manifest()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def install(self, name: str, version: str) -> None:
        site = self.root / "site-packages"
        shutil.rmtree(site / name, ignore_errors=True)
        for old in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        info = f"site-packages/{name}-{version}.dist-info"
        self.write(f"site-packages/{name}/__init__.py", f"# {version}\n")
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(
            f"{info}/RECORD", f"{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n"
        )

    def manifest(self) -> None:
        models = [
            {
                "name": name,
                "source": {"entrypoint": MODELS[name]},
                "inputs": {"x": {"dtype": "float32", "shape": [2, 4]}},
                "targets": ["torch:cpu"],
            }
            for name in self.order
        ]
        self.write("ws/m.yaml", json.dumps({"models": models}))

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{self.root}/lib:{self.root}/site-packages", **self.variables}

    def state(self) -> dict[str, str]:
        """Model -> what its `read` must return now. Nothing but the files decides."""
        ws = self.root / "ws"

        def value(file: str) -> str:
            return (self.root / file).read_text().split("'")[1]

        local, extra = ws / "conf/local.txt", ws / "extra.py"
        first = local if local.exists() else ws / "conf/default.txt"
        (info,) = (self.root / "site-packages").glob("shapes-*.dist-info")
        shards = sorted((ws / "shards").glob("*.txt"))
        return {
            "plain": (ws / "checkpoints/w.txt").read_text(),
            "package": value("ws/common/scale.py"),
            "through": value("lib/shared.py"),
            "native": (ws / "a/config.json").read_text(),
            "listed": ",".join(shard.name + shard.read_text() for shard in shards),
            "environment": self.variables.get("SCALE", "unset"),
            "optional": (value("ws/extra.py") if extra.exists() else "none") + first.read_text(),
            "distributed": info.name.removesuffix(".dist-info").partition("-")[2],
            "linked": ((ws / "current").resolve() / "w.txt").read_text(),
        }

    def reads(self) -> dict[str, str]:
        """The same with which files it comes from: a model has nothing new to read while this stays."""
        state, ws = self.state(), self.root / "ws"
        state["optional"] += f" {(ws / 'extra.py').exists()} {(ws / 'conf/local.txt').exists()}"
        state["linked"] += f" {os.readlink(ws / 'current')}"
        return state

    def edit(self) -> str:
        """One edit at random; returns what it was."""
        edits = [
            self._text, self._text, self._module, self._module, self._unread, self._unread,
            self._new_file, self._touch, self._same_stat, self._shard, self._shard, self._variable,
            self._other_variable, self._extra, self._local, self._upgrade, self._upgrade_linter,
            self._link, self._link, self._reorder, self._compiled,
        ]  # fmt: skip
        chosen: Callable[[], str] = self.random.choice(edits)
        return chosen()

    def _some(self) -> str:
        """Few values, so that a state comes back now and then, as when one changes branches."""
        return f"value {self.random.randrange(4)}"

    def _text(self) -> str:
        name = self.random.choice(TEXTS)
        self.write(f"ws/{name}", self._some())
        return f"another text in {name}"

    def _module(self) -> str:
        name = self.random.choice(("ws/common/scale.py", "lib/shared.py"))
        self.write(name, f"VALUE = '{self._some()}'\n")
        return f"another value in {name}"

    def _unread(self) -> str:
        name = self.random.choice(UNREAD)
        self.write(f"ws/{name}", self._some())
        return f"another text in {name}, which nothing reads"

    def _new_file(self) -> str:
        name = f"ws/{self.random.choice(('', 'pkg/', 'common/', 'a/'))}new{self.random.random()}.py"
        self.write(name, "x = 1")
        return f"new file {name}"

    def _touch(self) -> str:
        for path in (self.root / "ws").rglob("*.py"):
            os.utime(path, (1, self.random.randrange(10**6)))
        return "other times on every source"

    def _same_stat(self) -> str:
        """The size and time stay: only the content tells. Python's own cache would not notice."""
        path = self.root / "ws/common/scale.py"
        before = path.stat()
        self.write("ws/common/scale.py", f"VALUE = '{self._some()}'\n")
        if path.stat().st_size == before.st_size:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return "another value in ws/common/scale.py, with the old time"

    def _shard(self) -> str:
        path = self.root / f"ws/shards/{self.random.randrange(4)}.txt"
        if path.exists() and self.random.random() < 0.5:
            path.unlink()
            return f"{path.name} removed"
        path.write_text(self._some())
        return f"{path.name} written"

    def _variable(self) -> str:
        self.variables["SCALE"] = self._some()
        if self.random.random() < 0.2:
            del self.variables["SCALE"]
        return "another SCALE"

    def _other_variable(self) -> str:
        self.variables["UNRELATED"] = self._some()
        return "another UNRELATED"

    def _extra(self) -> str:
        if self.random.random() < 0.4:
            (self.root / "ws/extra.py").unlink(missing_ok=True)
            return "no extra.py"
        self.write("ws/extra.py", f"VALUE = '{self._some()}'\n")
        return "an extra.py"

    def _local(self) -> str:
        path = self.root / "ws/conf/local.txt"
        if path.exists():
            path.unlink()
            return "no conf/local.txt"
        path.write_text(self._some())
        return "a conf/local.txt"

    def _upgrade(self) -> str:
        self.install("shapes", f"1.{self.random.randrange(4)}")
        return "another version of shapes"

    def _upgrade_linter(self) -> str:
        self.install("linter", f"1.{self.random.randrange(99)}")
        return "another version of linter, which nothing imports"

    def _link(self) -> str:
        link = self.root / "ws/current"
        link.unlink()
        link.symlink_to(self.random.choice(("v1", "v2")))
        return f"current -> {os.readlink(link)}"

    def _reorder(self) -> str:
        self.random.shuffle(self.order)
        self.manifest()
        return "another order of models"

    def _compiled(self) -> str:
        shutil.rmtree(self.root / "ws/common/__pycache__", ignore_errors=True)
        return "no compiled files"
