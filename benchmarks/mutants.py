"""Which one-line changes of the modules that hold promises do the tests notice?

    python -m benchmarks.mutants [MODULE ...] [--fresh] [--jobs N]

mutmut changes one place at a time, with all of its own operators and no line left out, and runs the tests
of that function. MODULE is a path of the table below, or its ending (`dims`); without one, all run. What was
killed stays killed until its function changes; everything else is tried again, so a run that was stopped goes
on where it was. `--fresh` forgets that.

Figures go to `benchmarks/results/mutants.json`, module by module. A mutant that ran out of time, or that no
test reaches, counts as alive. To a survivor that cannot be told from the original, write the reason there by
hand: it is kept for as long as the same change of the same function survives.

Each module has a folder of its own under `build/mutants`, where `mutmut browse` shows the changes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutants"
FIGURES = results.FOLDER / "mutants.json"
SEEN_BY_TESTS = ("benchmarks", "clusters", "docs", "manifests", "README.md", "CHANGELOG.md")
"""What tests read beside the packages."""

MODULES = {
    "enginebundle/format/dims.py": ["tests/enginebundle/format/test_dims.py"],
    "enginebundle/format/signing.py": ["tests/enginebundle/format/test_signing.py"],
    "enginebundle/format/role.py": ["tests/enginebundle/format/test_role.py"],
    "enginebundle/format/evidence.py": ["tests/enginebundle/format/test_evidence.py"],
    "enginebundle/format/verdict.py": ["tests/enginebundle/format/test_verdict.py"],
    "enginebundle/serve/selection.py": ["tests/enginebundle/serve/test_selection.py"],
    "enginebundle/serve/dispatch.py": ["tests/enginebundle/serve/test_dispatch.py"],
    "enginebundle/serve/compare.py": ["tests/enginebundle/serve/test_compare.py"],
    "compiler/goldens/tolerance.py": ["tests/compiler/goldens/test_tolerance.py"],
    "orchestrator/run/schedule.py": [
        "tests/orchestrator/run/test_schedule.py",
        "tests/orchestrator/run/test_ahead.py",
    ],
    "orchestrator/plan/keys.py": ["tests/orchestrator/plan/test_keys.py"],
    "enginebundle/storage/ledger.py": [
        "tests/enginebundle/storage/test_ledger.py",
        "tests/attacks/test_evidence_taken_away.py",
        "tests/attacks/test_revoked.py",
        "tests/attacks/test_roles.py",
        "tests/attacks/test_rotation.py",
    ],
    "enginebundle/storage/local.py": ["tests/enginebundle/storage/test_local.py"],
    "enginebundle/storage/blobs.py": ["tests/enginebundle/storage/test_blobs.py"],
    "enginebundle/storage/store.py": ["tests/enginebundle/storage/test_store.py"],
    "enginebundle/format/move.py": ["tests/enginebundle/format/test_move.py"],
    "enginebundle/storage/aliases.py": [
        "tests/attacks/test_aliases.py",
        "tests/enginebundle/storage/test_store_local.py",
        "tests/attacks/test_roles.py",
    ],
    "enginebundle/storage/denials.py": [
        "tests/attacks/test_revoked.py",
        "tests/attacks/test_roles.py",
        "tests/attacks/test_rotation.py",
    ],
    "enginebundle/storage/cosign.py": ["tests/attacks/test_rotation.py"],
    "enginebundle/storage/seen.py": ["tests/enginebundle/storage/test_seen.py"],
    "enginebundle/storage/leases.py": ["tests/enginebundle/storage/test_leases.py"],
    "compiler/trace/guards.py": ["tests/compiler/trace/test_guards.py"],
    "compiler/trace/everywhere.py": ["tests/compiler/trace/test_everywhere.py"],
}
"""Each module, and the test files that keep its promise."""

PRELOAD = """import torch, pyarrow.fs, pytest, hypothesis
size = {"input": {0: torch.export.Dim.AUTO}}
torch.export.export(torch.nn.Identity(), (), {"input": torch.ones(2)}, dynamic_shapes=size)
import gc; gc.collect(); gc.freeze()"""
"""What takes seconds to import and is none of ours: mutmut forks, so once is enough. Torch imports half of
itself at its first export. Frozen, it costs nothing where a test collects garbage, as pytest does at its end."""

ALIVE = {0: "survived", 5: "no_tests", 33: "no_tests", -9: "crashed", -11: "crashed"}
KILLED = (1, 3)
TIMEOUT = (-24, 24, 36, 152, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", help="path or its ending; all without")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default 2)")
    args = parser.parse_args()
    for module in _chosen(args.modules):
        folder = _prepare(module, fresh=args.fresh)
        _run(folder, args.jobs)
        _record(module, _figures(folder, module))


def _chosen(words: list[str]) -> list[str]:
    chosen = [m for m in MODULES if not words or any(_means(word, m) for word in words)]
    for word in words:
        if not any(_means(word, module) for module in MODULES):
            sys.exit(f"no module {word!r}; there are {', '.join(MODULES)}")
    return chosen


def _means(word: str, module: str) -> bool:
    return f"/{module}".endswith((f"/{word}", f"/{word}.py"))


def _prepare(module: str, *, fresh: bool) -> Path:
    """The module's folder: links to the sources, mutmut's settings, and what is to be tried again."""
    folder = WORK / module.removesuffix(".py").replace("/", ".")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    # Python remembers of a folder on its path that it was not there.
    (folder / "mutants").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "mutants" / "tests", ignore_errors=True)
    for name in ("enginebundle", "compiler", "orchestrator", "tests", *SEEN_BY_TESTS):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    settings = {
        "source_paths": ["enginebundle", "compiler", "orchestrator"],
        "only_mutate": [module],
        "also_copy": list(SEEN_BY_TESTS),
        "pytest_add_cli_args_test_selection": MODULES[module],
        "pytest_add_cli_args": [
            *("-m", "not gpu and not slow"),
            *("-p", "no:cacheprovider", "-p", "benchmarks.quick_first"),
        ],
        "process_isolation": "forkserver",  # no mutant sees what an earlier run left in caches
        "timeout_constant": 4.0,
        "use_git_change_detection": False,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text = (ROOT / "pyproject.toml").read_text() + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (folder / "pyproject.toml").write_text(text)
    # Which functions a test reaches may be others by now; mutmut looks at new tests alone.
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    meta = folder / "mutants" / f"{module}.meta"
    if meta.exists():
        value = json.loads(meta.read_text())
        codes = value["exit_code_by_key"]
        value["exit_code_by_key"] = {k: v if v in KILLED else None for k, v in codes.items()}
        meta.write_text(json.dumps(value))
    return folder


def _run(folder: Path, jobs: int) -> None:
    # Steps and other child processes have to find the changed copy, not the installed one.
    env = os.environ | {"PYTHONPATH": str(folder / "mutants"), "OMP_NUM_THREADS": "1"}
    mutmut = [sys.executable, "-c", f"{PRELOAD}\nfrom mutmut.__main__ import cli; cli()"]
    command = [*mutmut, "run", "--max-children", str(jobs)]
    done = subprocess.run(command, cwd=folder, env=env, check=False)
    if done.returncode:
        sys.exit(f"mutmut ended with {done.returncode} in {folder}")


def _figures(folder: Path, module: str) -> dict[str, Any]:
    codes = json.loads((folder / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    counts = {"killed": 0, "survived": 0, "timeout": 0, "no_tests": 0, "crashed": 0, "not_run": 0}
    survivors = {}
    for name, code in codes.items():
        state = _state(code)
        counts[state] += 1
        if state != "killed":
            survivors[name] = {"state": state, "change": _change(folder, module, name)}
    score = round(100 * counts["killed"] / max(len(codes), 1), 1)
    figures = {"mutants": len(codes), "score_percent": score, **counts}
    return figures | {"tests": MODULES[module], "survivors": survivors}


def _state(code: int | None) -> str:
    if code in KILLED:
        return "killed"
    if code in TIMEOUT:
        return "timeout"
    return "not_run" if code is None else ALIVE.get(code, "crashed")


def _change(folder: Path, module: str, name: str) -> list[str]:
    """The lines that the mutant takes away (-) and puts in (+)."""
    code = (
        "import sys; from mutmut.mutation.diff_apply import get_diff_for_mutant as diff;"
        "print(diff(sys.argv[1], path=sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, name, module]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    lines = [
        line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    return [line[0] + line[1:].strip() for line in lines]


def _record(module: str, figures: dict[str, Any]) -> None:
    """Put the module's figures among the others, with the reasons that were written for them."""
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    modules = known.get("modules", {})
    reasons = {
        (_function(name), *told["change"]): told["reason"]
        for name, told in modules.get(module, {}).get("survivors", {}).items()
        if "reason" in told
    }
    for name, told in figures["survivors"].items():
        reason = reasons.get((_function(name), *told["change"]))
        if reason is not None:
            told["reason"] = reason
    modules[module] = figures
    ordered = {name: modules[name] for name in MODULES if name in modules}
    total = {
        key: sum(each[key] for each in ordered.values())
        for key in ("mutants", "killed", "survived", "timeout", "no_tests", "crashed", "not_run")
    }
    tool = f"mutmut {metadata.version('mutmut')}"
    results.write("mutants", {"tool": tool, "all": total, "modules": ordered}, show=False)
    unexplained = [n for n, told in figures["survivors"].items() if "reason" not in told]
    shown = {key: figures[key] for key in ("mutants", "score_percent", "killed", "timeout")}
    print(f"{module}: {shown}, {len(unexplained)} survivors without a reason")


def _function(name: str) -> str:
    return name.rpartition("__mutmut_")[0]


if __name__ == "__main__":
    main()
