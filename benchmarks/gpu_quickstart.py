"""The quickstart's bundles on a real GPU: every golden through the loader.

    python benchmarks/gpu_quickstart.py prepare --store ./store --out FOLDER     no GPU needed
    python benchmarks/gpu_quickstart.py run FOLDER                               on the GPU machine

`prepare` runs the quickstart's manifest with one more target, whose engines are for all listed
architectures, and copies those variants and their goldens into a store small enough to carry. `run`
validates each with `kiln validate`, then loads it and compares all goldens on the GPU. It writes
benchmarks/results/gpu_quickstart.json: errors in units of the stored tolerance, and the
milliseconds of a call with inputs on the GPU.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

MANIFEST = ROOT / "manifests" / "quickstart.yaml"
TARGET = "rtx:sm_75+sm_80+sm_86+sm_89+sm_120"
NAMES = ("minilm", "classifier", "pitch")
CALLS = 50


def prepare(store: str, out: Path) -> None:
    """Build the extra variants here and copy what the GPU machine needs."""
    from enginebundle.format.spec import Target
    from enginebundle.serve.bundle import Bundle
    from enginebundle.storage.home import home
    from enginebundle.storage.store import Store

    text = MANIFEST.read_text()
    one = '"torch:cpu", '
    if one not in text:
        raise SystemExit(f"{MANIFEST} does not list its targets as expected: {one!r} is missing")
    wider = MANIFEST.with_name("quickstart_gpu.yaml")
    wider.write_text(text.replace(one, f'{one}"{TARGET}", '))
    try:
        subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "run", str(wider), "--store", store],
            cwd=ROOT, check=True,
        )  # fmt: skip
    finally:
        wider.unlink()
    source, target = Store.open(store), Target.parse(TARGET)
    shutil.rmtree(out, ignore_errors=True)
    small = Store.open(out / "store", create=True)
    for name in NAMES:
        bundle = Bundle.open(source, source.resolve(name))
        variant = bundle.index.variant(target)
        if variant is None:
            raise SystemExit(f"{bundle.version} has no variant {target}")
        segments = [segment for part in variant.parts for segment in part.segments]
        wanted = [golden.blob for golden in bundle.index.goldens]
        wanted += [d for s in segments for d in (s.blob, s.weights) if d is not None]
        for digest in wanted:
            small.put_blob(source.blob_path(digest))
        small.publish(name, *source.read_index(bundle.version))
    shutil.copytree(home() / "trusted", out / "home" / "trusted")


def run(folder: Path) -> int:
    """Validate and time every bundle. Returns 1 if any golden is outside its tolerance."""
    import torch

    rows = [_measure(str(folder / "store"), f"{name}@1") for name in NAMES]
    passed = all(row["passed"] for row in rows)
    for row in rows:
        print(f"{row['bundle']:12} {'ok' if row['passed'] else 'WRONG'}  worst {row['worst']:.4f}"
              f"  max abs {row['max_abs']:.3g}  {row['milliseconds']}")  # fmt: skip
    figures = {
        "target": TARGET,
        "gpu": torch.cuda.get_device_name(),
        "capability": "sm_{}{}".format(*torch.cuda.get_device_capability()),
        "goldens": sum(row["goldens"] for row in rows),
        "passed": passed,
        "bundles": rows,
    }
    results.write("gpu_quickstart", figures, show=False)
    return 0 if passed else 1


def _measure(store: str, name: str) -> dict[str, Any]:
    import torch

    import enginebundle
    from enginebundle.serve.compare import compare
    from enginebundle.serve.session import read_tensors

    command = [sys.executable, "-m", "orchestrator.cli", "validate", name, "--target", TARGET]
    proved = subprocess.run(
        [*command, "--store", store], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(proved.stdout + proved.stderr, file=sys.stderr)
    session = enginebundle.load(
        f"{store}/{name}", target=TARGET, allow_pending=proved.returncode != 0
    )
    tolerances = dict(session.variant.tolerances)
    worst = largest = 0.0
    milliseconds: dict[str, float] = {}
    for golden in session.bundle.index.goldens:
        tensors = read_tensors(session.bundle, golden.blob)
        feeds = {s.name: tensors[f"input.{s.name}"].cuda() for s in session.inputs}
        got = session(**feeds)
        for output in session.outputs:
            found = compare(
                got[output.name].cpu(), tensors[f"output.{output.name}"], tolerances[output.name]
            )
            worst, largest = max(worst, found.worst), max(largest, found.max_abs)
        milliseconds[golden.name] = _milliseconds(session, feeds, torch)
    return {
        "bundle": name,
        "kiln_validate": proved.stdout.strip().splitlines()[-1:],
        "exit_code": proved.returncode,
        "goldens": len(session.bundle.index.goldens),
        "passed": proved.returncode == 0 and worst <= 1,
        "worst": worst,
        "max_abs": largest,
        "milliseconds": milliseconds,
    }


def _milliseconds(session: Any, feeds: dict[str, Any], torch: Any) -> float:
    """The median over single calls, by CUDA events, after a warm-up."""
    times = []
    for index in range(CALLS + 10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        session(**feeds)
        end.record()
        torch.cuda.synchronize()
        if index >= 10:
            times.append(start.elapsed_time(end))
    return round(statistics.median(times), 4)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("prepare", help="build and copy what a GPU machine needs")
    make.add_argument("--store", default="./store")
    make.add_argument("--out", type=Path, required=True)
    commands.add_parser("run", help="validate and time").add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.store, options.out)
        return 0
    return run(options.folder)


if __name__ == "__main__":
    sys.exit(main())
