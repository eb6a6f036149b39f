"""Trains compress/tasks/features/digits_mlp.npz, the features of digits, and says how many digits it knows.

python tests/bench/digit_features.py

Deterministic on one machine: scikit-learn's solver with one seed.  Needs scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

NUM_TRAINING = 1297  # the writers of the last 500 are others
OUTPUT = Path(__file__).parents[2] / "compress" / "tasks" / "features" / "digits_mlp.npz"


def main() -> None:
    digits = load_digits()
    pixels = np.rint(digits.data * 255 / 16) / 127.5 - 1
    classifier = MLPClassifier((128, 32), alpha=1e-2, max_iter=300, random_state=0)
    classifier.fit(pixels[:NUM_TRAINING], digits.target[:NUM_TRAINING])
    known = classifier.score(pixels[NUM_TRAINING:], digits.target[NUM_TRAINING:])
    print(f"{known:.1%} of {len(pixels) - NUM_TRAINING} digits of other writers")
    arrays = {f"weight_{number}": each for number, each in enumerate(classifier.coefs_)}
    arrays |= {f"bias_{number}": each for number, each in enumerate(classifier.intercepts_)}
    np.savez(OUTPUT, **{name: each.astype(np.float32) for name, each in arrays.items()})


if __name__ == "__main__":
    main()
