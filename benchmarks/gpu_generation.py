"""Do GPT-2 and Llama generate the same tokens through real engines as in eager PyTorch?

    python benchmarks/gpu_generation.py prepare --out FOLDER     no GPU needed
    python benchmarks/gpu_generation.py run FOLDER               on the GPU machine

`prepare` builds manifests/generation.yaml with engines for all listed architectures. It packs those
variants, their goldens, the models' weights and the tokens that eager PyTorch generates on this machine
into one file in FOLDER. `run` validates each variant (runs its goldens through the loader), generates 32
tokens from three prompts, and compares them with the packed tokens and with eager PyTorch's on the GPU
machine's CPU. It needs enginebundle, torch and transformers, and writes
benchmarks/results/gpu_generation.json: the tokens, and the milliseconds of a decode step of the engine
and of eager PyTorch on the same GPU with transformers' own cache. Exits 1 unless all tokens agree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "manifests")]

from benchmarks import results  # noqa: E402

MANIFEST = ROOT / "manifests" / "generation.yaml"
TARGET = "rtx:sm_75+sm_80+sm_86+sm_89+sm_120"
NAMES = ("gpt2", "llama")
COUNT = 32
STEPS = 50
PACK = "generation.tar.xz"


def prepare(out: Path) -> None:
    """Build, run eager PyTorch, and pack what the GPU machine needs."""
    from safetensors.torch import save_file

    import generation_models as models

    with tempfile.TemporaryDirectory() as folder:
        home, whole, packed = (Path(folder) / name for name in ("home", "whole", "packed"))
        os.environ["ENGINEBUNDLE_HOME"] = str(home)
        subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "run", str(_wider(folder)), "--store", whole],
            cwd=ROOT, check=True, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'manifests'}"},
        )  # fmt: skip
        tokens = {}
        for name in NAMES:
            _copy(whole, packed / "store", name)
            model = models.MODELS[name]()
            save_file(model.state_dict(), packed / f"{name}.safetensors")
            chosen, margin = eager(model, models.PROMPTS)
            tokens[name] = {"tokens": chosen, "margin": margin}
        (packed / "eager.json").write_text(json.dumps(tokens))
        shutil.copytree(home / "trusted", packed / "home" / "trusted")
        out.mkdir(parents=True, exist_ok=True)
        shutil.make_archive(str(out / PACK.removesuffix(".tar.xz")), "xztar", packed)
    print(f"{out / PACK}: {(out / PACK).stat().st_size / 1e6:.1f} MB", file=sys.stderr)


def _wider(folder: str) -> Path:
    """The manifest for TARGET only. It refers to its models by module, so it can be in any folder."""
    text = MANIFEST.read_text()
    one = 'targets: ["torch:cpu", "rtx:sm_89"]'
    if one not in text:
        raise SystemExit(f"{MANIFEST} does not list its targets as expected: {one!r} is missing")
    wider = Path(folder) / "generation.yaml"
    wider.write_text(text.replace(one, f'targets: ["{TARGET}"]'))
    return wider


def _copy(source: Path, target: Path, name: str) -> None:
    """One bundle's variant for TARGET, and its goldens."""
    from enginebundle.format.spec import Target
    from enginebundle.serve.bundle import Bundle
    from enginebundle.storage.store import Store

    whole, small = Store.open(str(source)), Store.open(str(target), create=True)
    bundle = Bundle.open(whole, whole.resolve(name))
    variant = bundle.index.variant(Target.parse(TARGET))
    if variant is None:
        raise SystemExit(f"{bundle.version} has no variant {TARGET}")
    wanted = [golden.blob for golden in bundle.index.goldens]
    wanted += [segment.blob for part in variant.parts for segment in part.segments]
    for digest in wanted:
        small.put_blob(whole.blob_path(digest))
    small.publish(name, *whole.read_index(bundle.version))


def eager(model: Any, prompts: Any, device: str = "cpu") -> tuple[list[list[int]], float]:
    """transformers' greedy tokens, and the smallest lead of a chosen token, in RMS of the logits."""
    import torch

    width = max(map(len, prompts))
    left = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    made = model.generate(
        left, attention_mask=mask, do_sample=False, max_new_tokens=COUNT, pad_token_id=0,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    scores = torch.stack(made.scores)
    best = scores.topk(2).values
    lead = (best[..., 0] - best[..., 1]) / scores.square().mean(-1).sqrt()
    return made.sequences[:, width:].tolist(), round(float(lead.min()), 4)


def run(folder: Path) -> int:
    """Validate, generate, compare and time. Returns 1 if anything differs."""
    import torch

    with tempfile.TemporaryDirectory() as unpacked:
        shutil.unpack_archive(folder / PACK, unpacked)
        os.environ["ENGINEBUNDLE_HOME"] = str(Path(unpacked) / "home")
        rows = [_row(Path(unpacked), name) for name in NAMES]
    passed = all(row["passed"] for row in rows)
    for row in rows:
        print(f"{row['bundle']:8} {'ok' if row['passed'] else 'WRONG'}  tokens {row['same']}  "
              f"goldens' worst {row['worst']:.3f}  ms per token {row['milliseconds']}")  # fmt: skip
    figures = {
        "target": TARGET,
        "gpu": torch.cuda.get_device_name(),
        "capability": "sm_{}{}".format(*torch.cuda.get_device_capability()),
        "passed": passed,
        "bundles": rows,
    }
    results.write("gpu_generation", figures, show=False)
    return 0 if passed else 1


def _row(folder: Path, name: str) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    import enginebundle
    import generation_models as models
    from enginebundle.format.spec import Target
    from enginebundle.serve.decoding import greedy
    from enginebundle.serve.validate import validate_and_sign
    from enginebundle.storage.store import Store

    store = Store.open(str(folder / "store"))
    evidence = validate_and_sign(store, store.resolve(f"{name}@1"), Target.parse(TARGET))
    for case in evidence.cases:
        print(f"{name} {case}", file=sys.stderr)
    session = enginebundle.load(
        f"{folder / 'store'}/{name}@1", target=TARGET, allow_pending=not evidence.passed
    )
    got = greedy(session, models.PROMPTS, COUNT, "cuda").tolist()
    there = json.loads((folder / "eager.json").read_text())[name]
    model = models.MODELS[name]()
    model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    here, _ = eager(model, models.PROMPTS)
    on_gpu, _ = eager(model.cuda(), models.PROMPTS, "cuda")
    same = {
        "eager_where_built": got == there["tokens"],
        "eager_cpu_here": got == here,
        "eager_gpu_here": got == on_gpu,
    }
    return {
        "bundle": name,
        "proved": evidence.passed,
        "worst": max(case.worst for case in evidence.cases),
        "passed": evidence.passed and same["eager_where_built"] and same["eager_cpu_here"],
        "same": same,
        "smallest_lead_in_rms": there["margin"],
        "tokens": [" ".join(map(str, row)) for row in got],
        "eager_tokens": [" ".join(map(str, row)) for row in there["tokens"]],
        "milliseconds": {
            "engine": _milliseconds(_engine_step(session, torch), torch),
            "eager": _milliseconds(_eager_step(model, torch), torch),
        },
    }


def _engine_step(session: Any, torch: Any) -> Callable[[], Any]:
    """One row's decode step with its caches on the GPU, fed its own result as in `greedy`."""
    from enginebundle.serve.decoding import empty_cache

    state = {
        "input_ids": torch.zeros(1, 1, dtype=torch.int64, device="cuda"),
        "positions": torch.full((1, 1), 64, device="cuda"),
        "logits_at": torch.zeros(1, dtype=torch.int64, device="cuda"),
        **empty_cache(session, 1, "cuda"),
    }

    def step() -> None:
        made = session(**state)
        state["input_ids"] = made["logits"].argmax(-1)[:, None]
        state.update({n: made[n.removeprefix("past_")] for n in state if n.startswith("past_")})

    return step


def _eager_step(model: Any, torch: Any) -> Callable[[], Any]:
    """The same step with transformers, whose cache grows by one token per step."""
    ids = torch.zeros(1, 64, dtype=torch.int64, device="cuda")
    with torch.inference_mode():
        state = model(ids, use_cache=True)
    cache, token = state.past_key_values, state.logits[:, -1:].argmax(-1)

    @torch.inference_mode()
    def step() -> None:
        nonlocal token
        token = model(token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)

    return step


def _milliseconds(step: Callable[[], Any], torch: Any) -> float:
    """The median over single steps, each of which is waited for, as a server waits for its token."""
    times = []
    for index in range(STEPS + 10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if index >= 10:
            times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times), 3)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("prepare", help="build and pack what a GPU machine needs")
    make.add_argument("--out", type=Path, required=True)
    commands.add_parser("run", help="validate, generate, compare and time").add_argument(
        "folder", type=Path
    )
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.out)
        return 0
    return run(options.folder)


if __name__ == "__main__":
    sys.exit(main())
