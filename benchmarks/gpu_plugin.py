"""An operator of the user's own, computed by a TensorRT plugin in Python, from manifest to service.

    python benchmarks/gpu_plugin.py [--seconds 400]

Runs manifests/plugin.yaml for `torch:cpu` and `trt:` of this machine's GPU: with the plugin, and once
more without registering it, where the operator is written out and the report says why. Then services,
each in a fresh process, load the bundle: without the plugin its variant must be rejected by name; with
it, answers at several sizes must equal the eager model's, and the plugin must have been called. It
writes benchmarks/results/gpu_plugin.json; the exit code is 0 if all of it is so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

FILES = ("plugin_model.py", "plugin_gated.py")
SIZES = (1, 3, 8, 32)


def serve(store: str, registers: bool, target: str) -> dict[str, Any]:
    """What a service sees; runs in a process of its own, in the folder with the plugin's code."""
    import torch

    import enginebundle
    import plugin_model
    from enginebundle.errors import NoVariantError
    from enginebundle.serve.compare import compare

    found: dict[str, Any] = {}
    if registers:
        import plugin_gated

        plugin_gated.register()
    try:
        session = enginebundle.load(f"{store}/gated", target=target)
    except NoVariantError as error:
        best = enginebundle.load(f"{store}/gated")
        return {"rejected": str(error), "instead": str(best.target)}
    model = plugin_model.model().eval()
    bound = session.variant.tolerances[0][1]
    worst = largest = 0.0
    for rows in SIZES:
        x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            want = model(x)
        ((_, got),) = session(x=x.cuda()).items()
        one = compare(got.cpu(), want, bound)
        worst, largest = max(worst, one.worst), max(largest, one.max_abs)
    found |= {"target": str(session.target), "needs": list(session.variant.plugins)}
    found |= {"worst": worst, "max_abs": largest, "milliseconds": _milliseconds(session)}
    if registers:
        found["plugin_calls"] = plugin_gated.calls
    return found


def _milliseconds(session: Any) -> float:
    """A call's median time at 32 rows, between CUDA events."""
    import statistics

    import torch

    x = torch.randn(32, 64, device="cuda")
    times = []
    for _ in range(60):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        session(x=x)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times[10:]), 4)


def farm(folder: Path, target: str, plugins: bool, seconds: float) -> dict[str, Any]:
    """`kiln run` in its own store: exit code, rows, and what the report says about plugins."""
    from enginebundle.format.digest import parse_json
    from enginebundle.storage.store import Store
    from orchestrator.report import record

    text = (ROOT / "manifests" / "plugin.yaml").read_text()
    text = text.replace('"torch:cpu", "rtx:sm_89", "trt:sm_90"', f'"torch:cpu", "{target}"')
    if not plugins:
        text = text.replace('plugins: ["plugin_gated:register"]', "plugins: []")
    folder.mkdir()
    (folder / "plugin.yaml").write_text(text)
    for name in FILES:
        shutil.copy(ROOT / "manifests" / name, folder)
    command = [sys.executable, "-m", "orchestrator.cli", "run", "plugin.yaml"]
    done = subprocess.run(
        [*command, "--store", str(folder / "store"), "--executor", "local"],
        cwd=folder, timeout=seconds, check=False,
    )  # fmt: skip
    store = Store.open(folder / "store")
    made = record.results(store, record.ids(store)[-1]) or {}
    build = made.get("tasks", {}).get(f"gated/build/{target}/batch", {}).get("output", {})
    report = parse_json(store.read_blob(build["report"])) if "report" in build else {}
    return {
        "exit_code": done.returncode,
        "rows": made.get("rows", []),
        "plugins_missing": report.get("plugins_missing", {}),
        "nodes_in_torch": report.get("torch_nodes"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.path.insert(0, os.getcwd())
        store, registers, target = options.serve
        print(json.dumps(serve(store, registers == "yes", target)))
        return 0
    from enginebundle.serve.machine import this_machine

    machine = this_machine()
    target = f"trt:{machine.arch or 'sm_90'}"
    with tempfile.TemporaryDirectory(prefix="kiln-gpu-plugin-") as name:
        folder = Path(name)
        os.environ |= {
            "ENGINEBUNDLE_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        figures: dict[str, Any] = {"gpu": machine.gpu, "runtimes": dict(machine.runtimes)}
        for case, plugins in (("with_plugin", True), ("without_plugin", False)):
            figures[case] = farm(folder / case, target, plugins, options.seconds / 2)
            print(case, json.dumps(figures[case]), flush=True)
            for registers in ("no", "yes"):
                served = subprocess.run(
                    [sys.executable, __file__, "--serve", "store", registers, target],
                    cwd=folder / case, capture_output=True, text=True, check=False,
                )  # fmt: skip
                lines = served.stdout.splitlines()
                told = json.loads(lines[-1]) if lines else {"error": served.stderr[-2000:]}
                figures[case][f"service_registers_{registers}"] = told
                print(case, "registers", registers, json.dumps(told), flush=True)
    if machine.arch is None:
        print("no GPU: a rehearsal, nothing is written")
        return 0
    wrong = faults(figures)
    for fault in wrong:
        print("WRONG:", fault)
    results.write("gpu_plugin", figures | {"wrong": wrong}, show=False)
    return 1 if wrong else 0


def faults(figures: dict[str, Any]) -> list[str]:
    """What is not as promised."""
    with_it, without = figures["with_plugin"], figures["without_plugin"]
    bare, served = with_it["service_registers_no"], with_it["service_registers_yes"]
    plain = without["service_registers_no"]
    checks = {
        "both runs validate everything": with_it["exit_code"] == without["exit_code"] == 0,
        "with the plugin nothing is missing": not with_it["plugins_missing"],
        "without it, the report says so": "kiln_plugin.gated.default" in without["plugins_missing"],
        "a service without it is told which": "Gated@1" in bare.get("rejected", ""),
        "and is given another variant": bare.get("instead") == "torch:cpu",
        "with it, the answers are right": 0 <= served.get("worst", -1) <= 1,
        "and the plugin computed them": served.get("plugin_calls", 0) >= len(SIZES),
        "the engine without needs none": plain.get("needs") == [] and 0 <= plain["worst"] <= 1,
    }
    return [name for name, holds in checks.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
