"""Images of one's own: a folder a class, a network of one's own trained on them, and a recipe that names both and takes
the network to int8.  The folders are written here, of scikit-learn's digits.

python examples/07_own_data.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import compress
from compress.data.preprocess import Preprocessor

INPUT = Preprocessor(resize=16, crop=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
RECIPE = f"""
name: own-digits
model: {{source: "path:digits.safetensors", architecture: "factory:{Path(__file__).resolve()}:network"}}
task: {{image_classification: {{dataset: "folder:test"}}}}
calibration: {{dataset: "folder:train", num_samples: 128}}
passes: [fold.batchnorm, quantize.static]
target: x86-vnni
evaluate: {{latency_runs: 20}}
"""


def network() -> tuple[nn.Module, Preprocessor]:
    """What `factory:` calls: a model, and what its input is."""

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*stage(3, 32), *stage(32, 64), *stage(64, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, 10)), INPUT


def write_folders() -> None:
    """train/<class>/<number>.png and test/<class>/<number>.png; names of folders may be words as well."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = Path("train" if number < 1200 else "test", str(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(folder / f"{number}.png")


def train(file: str) -> None:
    model, preprocessor = network()
    task = compress.ImageClassification(preprocessor, 10, dataset="folder:train")
    batches = list(task.evaluation())
    images = torch.cat([torch.from_numpy(batch.inputs) for batch in batches])
    labels = torch.cat([torch.from_numpy(batch.labels) for batch in batches])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(200):
        rows = torch.randint(len(images), (64,))
        optimizer.zero_grad()
        cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    save_file(model.state_dict(), file)


def main() -> None:
    torch.manual_seed(0)
    write_folders()
    train("digits.safetensors")
    row = compress.run(compress.parse(RECIPE), allow_code=True)  # the recipe runs this file
    print(f"{row.name}: {row.model_bytes:,} bytes of {row.float_model_bytes:,}")
    for name in ("top1", "top1_difference", "agreement"):
        figure = row.scores[name]
        print(f"{name} {figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}] of {figure.num_samples} images")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        main()
