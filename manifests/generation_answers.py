"""Generate with the bundles that generation.yaml published: the inference side.

    python manifests/generation_answers.py ./store

A prompt here is random numbers, for the models know no words. Yours come from a tokenizer.
"""

from __future__ import annotations

import sys

import enginebundle
from enginebundle.serve.decoding import greedy
from generation_models import PROMPTS


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: generation_answers.py STORE", file=sys.stderr)
        return 2
    store = sys.argv[1].rstrip("/")
    for name in ("gpt2", "llama"):
        decoder = enginebundle.load(f"{store}/{name}:latest")
        device = "cpu" if decoder.target.backend == "torch" else "cuda"
        print(f"\n{name} on {decoder.target}")
        for prompt, row in zip(PROMPTS, greedy(decoder, PROMPTS, 32, device), strict=True):
            print(f"  {len(prompt)} tokens, then {' '.join(map(str, row.tolist()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
