"""Are recorded inputs complete? Fifty traces, each run again where there is nothing but what it recorded.

Each model is traced and recorded as `kiln run` does. Then its files, links, listed names and variables
are laid out in an empty folder, with the installed distributions that it recorded as links; Python
starts there without any site-packages of its own, without network, and traces the model again. Both must give the
same graph and the same weights, and the second must read no name that the first did not.

    python benchmarks/closed.py [--models 50] [--jobs 2] [--resume]

Each model's row is written as it is known; --resume leaves out those that were closed at the last time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results, zoo
from orchestrator.manifest.load import load
from orchestrator.plan.inputs.owners import _table
from orchestrator.plan.inputs.places import LIBRARY, OWN, Places, sites
from tests.e2e.edits.workspace import Workspace

RESULTS = Path(results.__file__).parent / "results/closed.json"
SWEPT = RESULTS.with_name("sweep.json")
"""Which models trace. The neighbours of the others, which leave nothing to compare, take their places."""
DRIVER = str(Path(__file__).with_name("closed_trace.py"))
TOOLS = ("psutil", "cryptography", "cffi", "_cffi_backend", "safetensors")
"""What the process around a step needs, or the step after its recording: the keys have the version of
what writes weights down."""


def models(count: int, folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """(name, spec of its trace, environment) of each model."""
    workspace = Workspace(folder / "workspace", 0)
    for model in load(workspace.root / "ws/m.yaml").models:
        yield f"workspace {model.name}", _spec(model), workspace.environment()
    for model in load(Path(LIBRARY) / "manifests/quickstart.yaml").models:
        yield f"quickstart {model.name}", _spec(model), {}
    rest = count - 12
    step = len(zoo.SWEEP) // rest
    swept = json.loads(SWEPT.read_text())["models"]
    traced = {row["model"] for row in swept if "trace_seconds" in row}
    for number in range(rest):
        entry = next(e for e in zoo.SWEEP[number * step :] if e.name in traced)
        arguments = {"name": entry.name, "small": True}
        source = {"entrypoint": "benchmarks.zoo:build", "program": None, "trusted": False}
        goldens = {"entrypoint": "benchmarks.zoo:goldens", "file": None, "seed": None}
        yield (
            f"zoo {entry.name}",
            {
                "source": source | {"kwargs": arguments, "search_path": [LIBRARY]},
                "inputs": [one.to_json() for one in entry.inputs],
                "profiles": [one.to_json() for one in entry.profiles],
                "goldens": goldens | {"kwargs": arguments, "cases": None, "high": {}},
                "precision": "fp32",
                "replace": [],
            },
            {},
        )


def _spec(model: Any) -> dict[str, Any]:
    return {
        "source": model.source.to_json(),
        "inputs": [one.to_json() for one in model.inputs],
        "profiles": [one.to_json() for one in model.profiles],
        "goldens": model.goldens.to_json(),
        "precision": model.precision,
        "replace": [],
    }


def traced(
    python: list[str], spec: dict[str, Any], environment: dict[str, str], work: Path
) -> dict[str, Any]:
    """`trace` in a process of its own."""
    work.mkdir(parents=True, exist_ok=True)
    request = work / "spec.json"
    request.write_text(json.dumps([spec, str(work / "store"), str(work / "log")]))
    done = subprocess.run(
        [*python, DRIVER, str(request)],
        env=environment, cwd=work, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def lay_out(
    inputs: dict[str, Any], spec: dict[str, Any], environment: dict[str, str], tree: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Put what was recorded under `tree`. Returns the spec and the environment to use there."""
    pythonpath = environment.get("PYTHONPATH", "")
    places = Places(spec["source"]["search_path"], pythonpath)
    kiln, site, home = tree / "kiln", tree / "site-packages", tree / "home"
    entries = [e for e in pythonpath.split(os.pathsep) if e and e != LIBRARY]
    last = f"<site-packages {sum(Path(entry).name == 'site-packages' for entry in entries)}>"
    folders = {".": tree / "ws", "~": home, "<kiln>": kiln, last: site}
    for n, entry in enumerate(entries):
        folders[f"<PYTHONPATH {n}>"] = tree / Path(entry).name
    if spec["source"]["search_path"] == [LIBRARY]:
        folders["."] = kiln
    for folder in (*folders.values(), kiln):
        folder.mkdir(parents=True, exist_ok=True)

    def there(name: str) -> Path:
        first, _, rest = name.partition("/")
        if not first:
            raise RuntimeError(f"{name} is known by its place alone")
        return folders[first] / rest

    def here(name: str) -> Path:
        return Path(name.replace(last, sites()[-1])) if name.startswith(last) else places.path(name)

    for own in OWN:
        shutil.copytree(f"{LIBRARY}/{own}", kiln / own)
    for wanted in (site, *(folders[f"<PYTHONPATH {n}>"] for n in range(len(entries)))):
        wanted.mkdir(exist_ok=True)
    _install(inputs["distributions"], entries, tree)
    for name, leads in inputs["links"].items():
        there(name).parent.mkdir(parents=True, exist_ok=True)
        there(name).symlink_to(leads)
    for name in inputs["files"]:
        there(name).parent.mkdir(parents=True, exist_ok=True)
        if here(name).is_file():
            shutil.copyfile(here(name), there(name))
    for name, seen in inputs["looks"].items():
        if seen.startswith("file") and not there(name).exists():
            there(name).parent.mkdir(parents=True, exist_ok=True)
            os.truncate(_new(there(name)), int(seen.split()[2]))
        elif seen == "folder":
            there(name).mkdir(parents=True, exist_ok=True)
    for name in inputs["folders"]:
        there(name).mkdir(parents=True, exist_ok=True)
        for entry in here(name).iterdir():
            copy = there(name) / entry.name
            if entry.name != "__pycache__" and not copy.exists():
                copy.mkdir() if entry.is_dir() else _new(copy)
    tools = tree / "tools"
    tools.mkdir()
    for name in TOOLS:
        for found in Path(sites()[-1]).glob(f"{name}*"):
            if not (site / found.name).exists():
                (tools / found.name).symlink_to(found)
    path = [kiln, *(folders[f"<PYTHONPATH {n}>"] for n in range(len(entries))), site, tools]
    own = {
        n: os.environ[n] for n, value in inputs["variables"].items() if value and n in os.environ
    }
    own |= {n: v for n, v in environment.items() if n in inputs["variables"]}
    moved = {
        "HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }  # fmt: skip
    source = spec["source"] | {"search_path": [str(folders["."])]}
    return spec | {"source": source}, own | moved


def _new(path: Path) -> Path:
    path.touch()
    return path


def _install(distributions: dict[str, Any], entries: list[str], tree: Path) -> None:
    """Put the recorded distributions' files, and no others, into the new site's folder. Not as symbolic
    links: the linker would follow them, and find libraries where these come from."""
    for source in sites_with(entries):
        target = tree / "site-packages" if source in sites() else tree / Path(source).name
        for path, owned in _table(source).items():
            found = Path(source) / path
            if path.startswith("..") or len(owned) != 1 or owned[0] not in distributions:
                continue
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            if found.exists() and not (target / path).exists():
                subprocess.run(["cp", "-al", str(found), str(target / path)], check=True)


def sites_with(entries: list[str]) -> list[str]:
    return list(dict.fromkeys([*sites(), *(e for e in entries if Path(e).name == "site-packages")]))


def base_python() -> str:
    """The interpreter behind a virtual environment: it has no distributions of its own to speak of."""
    return os.path.realpath(sys.executable)


def check(name: str, spec: dict[str, Any], more: dict[str, str], folder: Path) -> dict[str, Any]:
    """One model, both ways."""
    path = os.pathsep.join(filter(None, (more.get("PYTHONPATH"), LIBRARY)))
    environment = (
        {k: v for k, v in os.environ.items() if k != "SCALE"} | more | {"PYTHONPATH": path}
    )
    first = traced([sys.executable, "-P"], spec, environment, folder / "first")
    tree = folder / "tree"
    moved, own = lay_out(first["inputs"], spec, environment, tree)
    again = traced([base_python(), "-P", "-S"], moved, own, tree / "work")
    fresh = [
        name
        for kind in ("files", "folders", "links")
        for name in again["inputs"][kind]
        if name not in first["inputs"][kind] and "PYTHONPATH" not in name  # where it lies there
    ]
    same = {k: first["output"][k] == again["output"][k] for k in ("program", "weights", "graph")}
    return {
        "model": name,
        "files": len(first["inputs"]["files"]),
        "distributions": len(first["inputs"]["distributions"]),
        "variables": len(first["inputs"]["variables"]),
        "same_program": same["program"],
        "same_weights": same["weights"],
        "read_beyond": fresh,
        "seconds": round(first["seconds"] + again["seconds"], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--only", default="", help="models whose names begin with this")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    rows = _closed(json.loads(RESULTS.read_bytes())["rows"]) if args.resume else []
    done = {row["model"] for row in rows}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as threads:

        def one(number: int, name: str, spec: dict[str, Any], more: dict[str, str]) -> None:
            place, began = Path(folder) / str(number), time.monotonic()
            try:
                row = check(name, spec, more, place)
            except RuntimeError as error:
                row = {"model": name, "error": str(error)[-2000:]}
            shutil.rmtree(place, ignore_errors=True)
            print(row, round(time.monotonic() - began), flush=True)
            rows.append(row)
            told = {"models": len(rows), "closed": len(_closed(rows)), "rows": rows}
            results.write("closed", told, show=False)

        wanted = [
            (number, *model)
            for number, model in enumerate(models(args.models, Path(folder)))
            if model[0].startswith(args.only) and model[0] not in done
        ]
        list(threads.map(lambda model: one(*model), wanted))
    print(f"{len(_closed(rows))} of {len(rows)} closed")
    return 0 if len(_closed(rows)) == len(rows) else 1


def _closed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in rows if r.get("same_program") and r["same_weights"] and not r["read_beyond"]]


if __name__ == "__main__":
    sys.exit(main())
