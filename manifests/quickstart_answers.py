"""Ask the bundles that quickstart.yaml published: the inference side, which knows only the store.

    python manifests/quickstart_answers.py ./store

The loader picks the variant for this machine (a GPU's engine once that is validated, else the
CPU's) and takes and returns named tensors.
"""

from __future__ import annotations

import sys

import enginebundle
from quickstart_models import (
    SENTENCES,
    hertz_of,
    imagenet_classes,
    photographs,
    tokenize,
    tone,
)


def similarities(store: str) -> list[tuple[str, str, float]]:
    """Cosine similarity of three pairs that mean the same and three that do not."""
    minilm = enginebundle.load(f"{store}/minilm:latest")
    sentences = SENTENCES[:6]
    vectors = minilm(**tokenize(sentences, 32))["embedding"]
    pairs = [(0, 1), (2, 3), (4, 5), (0, 3), (1, 4), (2, 5)]
    return [(sentences[i], sentences[j], float(vectors[i] @ vectors[j])) for i, j in pairs]


def classes(store: str) -> list[tuple[str, str, float]]:
    """Photograph, most likely class, its probability."""
    classifier = enginebundle.load(f"{store}/classifier:latest")
    names = imagenet_classes()
    result = []
    for title, image in photographs().items():
        probability, index = classifier(image=image[None])["logits"].softmax(-1)[0].max(0)
        result.append((title, names[int(index)], float(probability)))
    return result


def heard(store: str, hertz: float) -> float:
    """The pitch that the tracker hears in a sine of `hertz`, averaged over 8 frames, in Hz."""
    tracker = enginebundle.load(f"{store}/pitch:latest")
    return hertz_of(tracker(frames=tone(hertz, 8))["salience"].mean(0))


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: quickstart_answers.py STORE", file=sys.stderr)
        return 2
    store = sys.argv[1].rstrip("/")
    print("\nclassifier")
    for title, name, probability in classes(store):
        print(f"  {title}.jpg: {name} ({probability:.2f})")
    print("\npitch")
    print(f"  a 440 Hz tone: {heard(store, 440.0):.1f} Hz")
    print("\nminilm, similarity of two sentences")
    for first, second, similarity in similarities(store):
        print(f"  {similarity:6.3f}  {first}  |  {second}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
