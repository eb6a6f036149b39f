"""A classifier of handwritten digits below four bits: rounded to 2 bits, learned in 2 bits, and with −s, 0, s alone.

python examples/05_below_four_bits.py
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import compress
from compress.passes import FoldBatchNorm, Pass, QuantizeTernary, QuantizeWeights, Reconstruct

STEPS, BATCH, TRAINED = 150, 64, 1200


def network() -> nn.Sequential:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)]
    return nn.Sequential(*stage(1, 32), *stage(32, 64), nn.MaxPool2d(2), *stage(64, 64), *head)


def trained(images: Tensor, labels: Tensor) -> nn.Sequential:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,))
        optimizer.zero_grad()
        cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def main(directory: Path) -> dict[str, float]:
    """Top-1 by what was done."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 16
    labels = torch.from_numpy(digits.target)
    model = trained(images[:TRAINED], labels[:TRAINED])
    edges = QuantizeWeights(num_bits=8, targets=("role:first", "role:last"))
    ways: dict[str, Sequence[Pass]] = {
        "float": [FoldBatchNorm()],
        "2 bits, rounded to nearest": [FoldBatchNorm(), edges, QuantizeWeights(num_bits=2, midrise=True)],
        "2 bits, learned": [
            FoldBatchNorm(),
            edges,
            QuantizeWeights(num_bits=2, midrise=True),
            Reconstruct(iterations=100),
        ],
        "ternary": [FoldBatchNorm(), edges, QuantizeTernary()],
    }
    found = {}
    for number, (way, passes) in enumerate(ways.items()):
        small = compress.apply(copy.deepcopy(model), passes, lambda: [(images[:128],)], target="x86-vnni")
        artefact = compress.export(small, images[:1], directory / str(number), target="x86-vnni")
        answers = compress.open_session(artefact)(images[TRAINED:].numpy()).argmax(1)
        found[way] = float((answers == labels[TRAINED:].numpy()).mean())
        print(f"{way}: {artefact.model_bytes:,} bytes, top-1 {found[way]:.1%} of {len(answers)} images")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
