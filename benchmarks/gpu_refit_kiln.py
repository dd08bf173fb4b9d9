"""A fine-tuned BERT-base through `kiln run`: published, validated and loaded, without a build?

    python benchmarks/gpu_refit_kiln.py [--target trt:sm_90] [--small] [--keep FOLDER]

On a machine with the target's GPU, TensorRT and the farm's packages (`pip install 'enginekiln[farm]'`).
In a store of its own: `kiln run` of BERT-base with `refit: true` (batch 8, sequence 128, fp16), then of
the same model with other weights, then of a third one whose graph is traced beforehand, so that the
plan knows it. Each step's row is kept in benchmarks/results/gpu_refit_kiln.json as it comes: seconds,
the plan's words, the run's table, and the distance of the loaded bundle's answers from eager float32.
`--small` runs a cut-down model, `--target torch:cpu` tries the way through on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402

MODELS = '''
import torch
from transformers import BertConfig, BertModel


class Encoder(torch.nn.Module):
    def __init__(self, small):
        super().__init__()
        cut = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
               "num_attention_heads": 4, "vocab_size": 1000} if small else {}
        self.bert = BertModel(BertConfig(**cut), add_pooling_layer=False)

    def forward(self, input_ids, attention_mask):
        return {"hidden": self.bert(input_ids, attention_mask).last_hidden_state}


def encoder(seed=0, small=False):
    """Random weights; each seed other than 0 changes them by up to a tenth."""
    torch.manual_seed(0)
    model = Encoder(small).eval()
    if seed:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in model.parameters():
                tensor *= 1 + 0.1 * torch.rand(tensor.shape, generator=generator)
    return model
'''
MANIFEST = """
models:
  - name: encoder
    source: {{entrypoint: "tuned_encoder:encoder", kwargs: {{seed: {seed}, small: {small}}}}}
    inputs:
      input_ids: {{dtype: int64, shape: [8, 128], high: 1000}}
      attention_mask: {{dtype: int64, shape: [8, 128], high: 2}}
    targets: ["{target}"]
    precision: {precision}
    goldens: {{seed: 0, cases: 1}}
    {refit}
"""


class Trial:
    """A folder with the models and manifests, a store, and the rows so far."""

    def __init__(self, folder: Path, target: str, small: bool) -> None:
        self.folder, self.target, self.small = folder, target, small
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / "tuned_encoder.py").write_text(MODELS)
        self.store = folder / "store"
        self.rows: list[dict[str, Any]] = []
        os.environ["ENGINEBUNDLE_HOME"] = str(folder / "home")

    def manifest(self, seed: int) -> str:
        on_gpu = not self.target.startswith("torch")
        text = MANIFEST.format(
            seed=seed, small=str(self.small).lower(), target=self.target,
            precision="fp16" if on_gpu else "fp32",
            refit="refit: true" if self.target.startswith("trt:") else "",
        )  # fmt: skip
        path = self.folder / "models" / f"seed{seed}.yaml"
        path.write_text(text)
        return str(path)

    def kiln(self, *arguments: str) -> tuple[float, subprocess.CompletedProcess[str]]:
        command = [sys.executable, "-m", "orchestrator.cli", *arguments, "--store", str(self.store)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        started = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
        )
        return round(time.perf_counter() - started, 1), done

    def plan(self, seed: int, row: str) -> None:
        seconds, done = self.kiln("plan", self.manifest(seed))
        lines = [line for line in done.stdout.splitlines() if "/build/" in line]
        self.note({"row": row, "seconds": seconds, "plan": lines, "stderr": done.stderr[-500:]})

    def run(self, seed: int, row: str, *more: str) -> None:
        seconds, done = self.kiln("run", self.manifest(seed), "--executor", "local", *more)
        found: dict[str, Any] = {"row": row, "seconds": seconds, "exit_code": done.returncode}
        found["table"] = done.stdout.splitlines()
        self.note(found | {"stderr": done.stderr[-800:]})

    def load(self, seed: int, row: str) -> None:
        """Load the newest version as a service would, and compare with the eager model."""
        import torch

        import enginebundle

        sys.path.insert(0, str(self.folder / "models"))
        from tuned_encoder import encoder

        started = time.perf_counter()
        session = enginebundle.load(f"{self.store}/encoder", target=self.target).open()
        seconds = round(time.perf_counter() - started, 2)
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(0, 1000, (8, 128), generator=generator)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        got = session(**given)["hidden"].double()
        with torch.no_grad():
            want, base = (encoder(s, self.small)(**given)["hidden"].double() for s in (seed, 0))
        error, apart = (float((x - want).norm() / want.norm()) for x in (got, base))
        kinds = [(s.kind, s.weights is not None) for p in session.variant.parts for s in p.segments]
        self.note({
            "row": row, "version": str(session.bundle.version), "open_seconds": seconds,
            "segments": kinds, "error": error, "apart": apart,
            "right": error < 0.02 and (not seed or apart > 4 * error),
        })  # fmt: skip

    def note(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print(json.dumps(row, indent=1), flush=True)
        results.write("gpu_refit_kiln", {"target": self.target, "rows": self.rows}, show=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="trt:sm_90")
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--keep", type=Path, help="folder for the store, instead of a temporary one"
    )
    options = parser.parse_args()
    missing = [name for name in ("cryptography", "pydantic", "yaml", "psutil") if not _there(name)]
    if missing:
        print(f"skipped: kiln needs {', '.join(missing)}, which this machine lacks")
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        trial = Trial(options.keep or Path(temporary), options.target, options.small)
        trial.plan(0, "plan of the first model")
        trial.run(0, "run of the first model: a build")
        trial.load(0, "load")
        trial.plan(1, "plan of other weights, not traced")
        trial.run(1, "run of other weights: a refit")
        trial.load(1, "load")
        trial.run(2, "trace alone", "--only", "encoder/trace")
        trial.plan(2, "plan of other weights, traced")
        trial.run(2, "run of other weights, traced before")
        trial.load(2, "load")
    by_row = {row["row"]: row for row in trial.rows if row["row"] != "load"}
    refit = by_row["run of other weights: a refit"]
    right = all(row.get("right", True) for row in trial.rows)
    print(f"refit in {refit['seconds']} s of `kiln run`; numbers {'right' if right else 'WRONG'}")
    return 0 if right and not any(row.get("exit_code") for row in trial.rows) else 1


def _there(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


if __name__ == "__main__":
    sys.exit(main())
