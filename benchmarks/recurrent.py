"""Build time of a recurrent layer against its number of steps: as a loop, and written out as before.

    python benchmarks/recurrent.py [--layer lstm] [--steps 16 32 ... 512] [--repeat 3] [--limit 300]

Each build is a fork of its own, from nn.Module to the engine's bytes (sm_89, 64 features in and 128
hidden, batch 1 to 8, no GPU needed), in three ways:

    dynamic       a loop; the profile holds every length from 1 to the number of steps
    static        a loop over exactly so many steps
    written out   every step's layers one after another, as before there was a loop: static lengths only

The ways take turns. Each figure is the median of the repeats (what is written out is built once), in wall
seconds and in processor seconds of all threads, for the stages trace, convert and build. A way that takes
longer than the limit once is not tried with more steps. Prints the seconds and, for each way, the ratio
of the most steps to the fewest; writes benchmarks/results/recurrent.json. Exits 1 if a loop's ratio of
processor seconds exceeds 1.3.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.forked import Failed, run_forked  # noqa: E402

LAYERS = ("lstm", "gru", "rnn")
STEPS = (16, 32, 64, 128, 256, 512)
WAYS = ("dynamic", "static", "written out")
FEATURES, HIDDEN, BATCH = 64, 128, (1, 4, 8)
MOST = 1.3
STAGES = ("trace", "convert", "build", "all")


def written_out(
    net: Any,
    inputs: Sequence[Any],
    count: Any,
    first: Sequence[Any],
    weights: Sequence[Any],
    step: Any,
) -> tuple[list[Any], list[Any]]:
    """What compiler/convert/ops/recurrent.py did in place of a loop."""
    import torch

    outputs, final = [], []
    for direction, (x, state) in enumerate(zip(inputs, first, strict=True)):
        rows: dict[int, Any] = {}
        steps = range(x.shape[0])
        for t in reversed(steps) if direction else steps:
            row = net.gather(x, net.scalar(t, torch.int64), 0)
            state = step(net, row, state, weights[direction])
            rows[t] = net.unsqueeze(state[0], [0])
        outputs.append(net.concat([rows[t] for t in steps], 0))
        final.append(state)
    return outputs, final


def layer(kind: str, **form: Any) -> Any:
    """The layer, with fixed random weights."""
    import torch

    torch.manual_seed(0)
    cls = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[kind]
    return cls(FEATURES, HIDDEN, batch_first=True, **form).eval()


def converted(model: Any, way: str, steps: int, target: str, precision: str = "fp32") -> Any:
    """What stands for the model in a bundle: its graph, its network, the profiles; and seconds so far."""
    from compiler.build.networks import BuildRequest, convert_program
    from compiler.convert.library import REGISTRY
    from compiler.convert.ops import recurrent
    from compiler.lower import lower
    from compiler.lower.capture import capture
    from compiler.trace.export import trace
    from enginebundle.format.spec import Profile, Range, Target, TensorSpec

    if way == "written out":
        recurrent._run = written_out
    length: int | str = "t" if way == "dynamic" else steps
    inputs = (TensorSpec("input", "float32", ("b", length, FEATURES)),)
    symbols = [("b", Range(*BATCH)), ("t", Range(1, steps, steps))][: 2 if way == "dynamic" else 1]
    profiles = (Profile("p", tuple(symbols)),)
    request = BuildRequest(Target.parse(target), profiles, precision, require_full_compilation=True)
    marks = [now()]
    lowered = lower(trace(model, inputs, profiles), REGISTRY.ops(), precision=precision)
    program = capture(lowered, inputs)
    marks.append(now())
    made = convert_program(program, request)
    marks.append(now())
    (segment,), (network,) = made.parts.segments, made.networks
    assert network is not None
    return segment.graph, network, profiles, marks


def now() -> tuple[float, float]:
    """Wall and processor seconds."""
    return time.perf_counter(), time.process_time()


def measure(kind: str, way: str, steps: int) -> dict[str, Any]:
    """(wall, processor) seconds of each stage, and the engine's bytes."""
    from compiler.build import tensorrt_rtx
    from compiler.build.builder import EngineOptions, build_engine

    module, model = tensorrt_rtx.module(), layer(kind)
    graph, network, profiles, marks = converted(model, way, steps, "rtx:sm_89")
    engine = build_engine(module, network, graph, EngineOptions(profiles, capabilities=("sm_89",)))
    marks.append(now())
    spans = [*itertools.pairwise(marks), (marks[0], marks[-1])]
    seconds = [(end[0] - start[0], end[1] - start[1]) for start, end in spans]
    return {"seconds": dict(zip(STAGES, seconds, strict=True)), "bytes": len(engine)}


def warm() -> None:
    """What a process does once, however many steps: so that the forks begin after it."""
    for kind in LAYERS:
        for way in WAYS[:2]:
            measure(kind, way, 2)


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of several measurements."""
    row: dict[str, Any] = {"engine_mb": round(runs[0]["bytes"] / 1e6, 2)}
    for stage in STAGES:
        pairs = [run["seconds"][stage] for run in runs]
        wall, processor = (round(statistics.median(p[i] for p in pairs), 3) for i in (0, 1))
        row[stage] = {"wall_s": wall, "processor_s": processor}
    return row


def table(options: argparse.Namespace) -> tuple[dict[str, dict[int, Any]], dict[str, str]]:
    """A row for each way and number of steps, and why a way ended early."""
    rows: dict[str, dict[int, Any]] = {way: {} for way in WAYS}
    ended: dict[str, str] = {}
    for steps in options.steps:
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for turn in range(options.repeat):
            for way in WAYS:
                if way in ended or (turn and way == "written out"):
                    continue
                found = run_forked(partial(measure, options.layer, way, steps), options.limit)
                if isinstance(found, Failed):
                    ended[way] = f"{steps} steps: {found.kind} {found.message}"
                else:
                    runs[way].append(found)
        for way in WAYS:
            if runs[way] and way not in ended:
                rows[way][steps] = row = middle(runs[way])
                print(way, steps, row["build"], row["all"], sep="\t", file=sys.stderr, flush=True)
    return rows, ended


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--layer", choices=LAYERS, default="lstm")
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one build")
    options = parser.parse_args()
    warm()
    rows, ended = table(options)
    ratios = {}
    for way, found in rows.items():
        low, high = min(found), max(found)
        ratios[way] = {"steps": [low, high]} | {
            f"{stage}_{clock}": round(found[high][stage][clock] / found[low][stage][clock], 2)
            for stage in ("build", "all")
            for clock in ("wall_s", "processor_s")
        }
    figures = {
        "layer": f"nn.{options.layer.upper()}({FEATURES}, {HIDDEN}), batch {BATCH[0]} to {BATCH[-1]}",
        "most_to_fewest_steps": ratios,
        "ended": ended,
        "rows": rows,
    }
    if options.layer == "lstm":
        results.write("recurrent", figures)
    else:
        print(figures)
    loops = [ratios[way][f"{stage}_processor_s"] for way in WAYS[:2] for stage in ("build", "all")]
    return int(max(loops) > MOST)


if __name__ == "__main__":
    sys.exit(main())
