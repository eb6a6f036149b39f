"""Lightning's Trainer, and a callback by which a small network learns from a larger one's answers and features, with
4-bit weights and 8-bit activations.

python examples/03_lightning.py
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import compress
from compress.integrations.lightning import CompressCallback, Compressed
from compress.passes import Distill, TrainQuantized
from compress.training.settings import FeatureLoss, LogitsLoss


def stripes(seed: int, count: int) -> TensorDataset:
    """Images [3, 16, 16] of stripes under noise, and which of eight directions they have."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(8, (count,), generator=generator)
    angle = labels[:, None, None] * math.pi / 8
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    waves = torch.sin(1.2 * (x * angle.cos() + y * angle.sin()) + 6.28 * torch.rand(count, 1, 1, generator=generator))
    return TensorDataset(waves[:, None] + 2 * torch.randn(count, 3, 16, 16, generator=generator), labels)


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.head = nn.Linear(2 * width, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)).mean((2, 3)))


class Classifier(LightningModule):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = Network(width)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        return cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 3e-3)


class Taught(Compressed, Classifier):
    """A Classifier whose loss passes may change."""


def fit(module: LightningModule, directory: Path, *callbacks: CompressCallback) -> None:
    trainer = Trainer(
        default_root_dir=directory,
        accelerator="cpu",
        max_steps=100,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(stripes(0, 6400), 64))


def main(directory: Path) -> compress.Artefact:
    torch.manual_seed(0)
    teacher, student = Classifier(32), Taught(8)
    fit(teacher, directory)

    passes = [
        Distill(features=FeatureLoss(weight=0.1, modules={"second": "second"}), fade=0.5),
        TrainQuantized(num_bits=4, activation_bits=8, freeze=0.8, logits=LogitsLoss(temperature=2.0)),
    ]
    calibration = stripes(1, 256).tensors[0]
    callback = CompressCallback(passes, teacher=teacher.model, batches=lambda: [(calibration,)])
    fit(student, directory, callback)
    model = callback.finalize()

    images, labels = stripes(2, 1000).tensors
    artefact = compress.export(model, images[:1], directory / "artefact", target="x86-vnni")
    answers = compress.open_session(artefact)(images.numpy()).argmax(1)
    print(f"{artefact.model_bytes:,} bytes for {sum(each.numel() for each in Network(8).parameters()):,} parameters")
    print(f"top-1 {(answers == labels.numpy()).mean():.1%} of {len(labels)} images")
    return artefact


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
