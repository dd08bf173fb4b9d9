"""Twelve architectures through the whole compiler: does each become one engine with the right numbers?

    python benchmarks/coverage.py [--only NAME ...] [--small] [--target rtx:sm_89]

Each model is traced with a dynamic batch (and sequence), partitioned, built without a GPU, and
evaluated on the CPU at its profile's min, opt and max against eager PyTorch. Models run one after
another, each in a fresh process. Errors are in units of the tolerance: at most 1 passes. `trace s` and
`build s` are wall seconds (`build s` includes the evaluation). `cpu s` is the processor time of the
build on all cores: compare that one if the machine was busy. Prints the table and, if all full-size
models ran, writes benchmarks/results/coverage.json. Exits 1 unless every row is ok.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results, zoo  # noqa: E402

Row = dict[str, Any]
POINTS = ("min", "opt", "max")
COLUMNS = (
    "model", "nodes", "converted", "engines", "torch", "trace s", "build s", "cpu s", "MB",
    "err min", "err opt", "err max", "ok",
)  # fmt: skip
LIMIT = 1800
"""Seconds for one model."""


def measure(name: str, small: bool, target: str) -> Row:
    """One model through trace_model and build_program in this process."""
    from compiler.goldens.goldens import GoldenSource
    from compiler.pipeline import BuildRequest, TraceRequest, build_program, trace_model
    from compiler.trace.source import Source
    from enginebundle.format.spec import Target

    entry = zoo.entry(name, small)
    kwargs = (("name", name), ("small", small))
    source = Source(entrypoint="benchmarks.zoo:build", kwargs=kwargs, search_path=(str(ROOT),))
    goldens = GoldenSource(entrypoint="benchmarks.zoo:goldens", kwargs=kwargs)
    start = time.perf_counter()
    traced = trace_model(TraceRequest(source, entry.inputs, entry.profiles, goldens))
    traced_at, traced_cpu = time.perf_counter(), time.process_time()
    job = BuildRequest(Target.parse(target), entry.profiles)
    built = build_program(traced.program, job, traced.goldens)
    seconds, cpu = time.perf_counter() - traced_at, time.process_time() - traced_cpu
    engines = [segment for segment in built.segments if segment.kind == "engine"]
    report = built.report
    row: Row = {
        "model": name,
        "fixed": entry.fixed,
        "nodes": report["engine_nodes"] + report["torch_nodes"],
        "converted": report["engine_nodes"],
        "engine_segments": len(engines),
        "torch_segments": len(built.segments) - len(engines),
        "trace_seconds": round(traced_at - start, 2),
        "build_seconds": round(seconds, 2),
        "build_cpu_seconds": round(cpu, 2),
        "engine_bytes": sum(len(segment.engine or b"") for segment in engines),
        "errors": errors(built),
        "responds": responds(traced.goldens),
        "kept": refusals(report),
    }
    return row | {"ok": is_ok(row)}


def responds(goldens: Any) -> bool:
    """Whether some output differs between the first two rows of the largest golden.

    The outputs of a model that ignores its input would compare equal whatever a converter did.
    """
    (largest,) = (golden for golden in goldens if golden.name == "max")
    found = []
    for tensor in largest.outputs.values():
        first, second = tensor[0].double(), tensor[1].double()
        found.append((first - second).abs().max() > 0.02 * tensor.double().std())
    return any(bool(one) for one in found)


def refusals(report: dict[str, Any]) -> list[Row]:
    """What runs in torch: a row per operator and reason, with the first node's place in the source."""
    found: list[Row] = []
    for group in report["reasons"]:
        same = ("op", "code")
        first = next(k for k in report["kept"] if all(k[key] == group[key] for key in same))
        place = {key: first[key] for key in ("node", "file", "line", "source", "module")}
        found.append(group | place)
    return found


def errors(built: Any) -> dict[str, dict[str, float]]:
    """Golden -> the largest |error| of its outputs, absolute and in units of the tolerance."""
    found: dict[str, dict[str, float]] = {}
    for golden, _, worst, max_abs in built.evaluated.cases if built.evaluated is not None else ():
        point = found.setdefault(golden, {"max_abs": 0.0, "worst": 0.0})
        point["max_abs"] = max(point["max_abs"], max_abs)
        point["worst"] = max(point["worst"], worst)
    return found


def is_ok(row: Row) -> bool:
    """One engine, every node in it, and within tolerance at all three points."""
    whole = row["engine_segments"] == 1 and row["torch_segments"] == 0
    near = [row["errors"].get(point, {}).get("worst", float("inf")) <= 1 for point in POINTS]
    return whole and row["converted"] == row["nodes"] and all(near) and row["responds"]


def run(name: str, small: bool, target: str) -> Row:
    """`measure` in a fresh process. A model that fails becomes a row with its last line on stderr."""
    command = [sys.executable, __file__, "--child", name, "--target", target]
    command += ["--small"] if small else []
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"model": name, "ok": False, "failed": f"took over {LIMIT} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        row: Row = json.loads(lines[-1])
        return row
    talk = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return {"model": name, "ok": False, "failed": talk[-1][:300]}


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, as text."""
    if "failed" in row:
        return (row["model"], *[""] * (len(COLUMNS) - 2), "FAILED")
    found = [row["errors"].get(point) for point in POINTS]
    return (
        row["model"], str(row["nodes"]), str(row["converted"]), str(row["engine_segments"]),
        str(row["torch_segments"]), f"{row['trace_seconds']:.1f}", f"{row['build_seconds']:.1f}",
        f"{row['build_cpu_seconds']:.1f}",
        f"{row['engine_bytes'] / 1e6:.1f}",
        *(f"{error['worst']:.3f}" if error else "-" for error in found),
        "yes" if row["ok"] else "NO",
    )  # fmt: skip


def table(rows: list[Row]) -> str:
    """The rows under COLUMNS, numbers aligned right, and below them what failed or runs in torch."""
    text = [COLUMNS, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    lines = []
    for line in text:
        rest = zip(line[1:], widths[1:], strict=True)
        lines.append("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in rest)]))
    lines += [f"{row['model']}: {row['failed']}" for row in rows if "failed" in row]
    for row in rows:
        for kept in row.get("kept", ()):
            lines.append(
                f"{row['model']}: {kept['count']} x {kept['op']} in torch: {kept['detail']} "
                f"({kept['node']} at {kept['file']}:{kept['line']})"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [entry.name for entry in zoo.ZOO]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument(
        "--small", action="store_true", help="cut-down models that take seconds, for tests"
    )
    parser.add_argument("--target", default="rtx:sm_89")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.small, options.target)))
        return 0
    rows = []
    for name in options.only:
        rows.append(run(name, options.small, options.target))
        print(f"{name}: {'ok' if rows[-1]['ok'] else 'NOT ok'}", file=sys.stderr, flush=True)
    print(table(rows))
    passed = sum(row["ok"] for row in rows)
    print(f"{passed} of {len(rows)} ok: one engine, every node converted, within tolerance")
    if options.only == names and not options.small:
        figures = {"target": options.target, "ok": passed, "of": len(rows), "models": rows}
        results.write("coverage", figures, show=False)
    return 0 if passed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
