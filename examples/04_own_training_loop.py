"""A training loop in plain PyTorch: a small network learns from a larger one, on grids of 4 bits (weights) and 8 bits
(activations).  What is exported is what was trained.

python examples/04_own_training_loop.py
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import compress
from compress.passes import TrainQuantized
from compress.training.settings import LogitsLoss

BATCH, TEACHER_STEPS, STEPS = 64, 60, 100


def stripes(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Images [count, 3, 16, 16] of stripes under noise, and which of eight directions they have."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(8, (count,), generator=generator)
    angle = labels[:, None, None] * math.pi / 8
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    phase = 6.28 * torch.rand(count, 1, 1, generator=generator)
    waves = torch.sin(1.2 * (x * angle.cos() + y * angle.sin()) + phase)
    return waves[:, None] + 2 * torch.randn(count, 3, 16, 16, generator=generator), labels


def network(width: int) -> nn.Module:
    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*stage(3, width), *stage(width, 2 * width), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(2 * width, 8))


def main(directory: Path) -> compress.Artefact:
    torch.manual_seed(0)
    teacher, student = network(32), network(8)
    optimizer = torch.optim.Adam(teacher.parameters(), 3e-3)
    for step in range(TEACHER_STEPS):
        images, labels = stripes(step, BATCH)
        optimizer.zero_grad()
        cross_entropy(teacher(images), labels).backward()
        optimizer.step()

    passes = [TrainQuantized(num_bits=4, activation_bits=8, freeze=0.8, logits=LogitsLoss(temperature=2.0))]
    calibration = stripes(1000, 256)[0]
    compressor = compress.prepare(student, passes, teacher=teacher, batches=lambda: [(calibration,)], total_steps=STEPS)
    optimizer = torch.optim.Adam([*student.parameters(), *compressor.parameters()], 3e-3)
    for step in range(STEPS):
        images, labels = stripes(2000 + step, BATCH)
        optimizer.zero_grad()
        loss = compressor.loss(cross_entropy(student(images), labels), (images, labels))
        loss.backward()
        optimizer.step()
        compressor.step()
    model = compressor.finalize()

    images, labels = stripes(9999, 1000)
    artefact = compress.export(model, images[:1], directory, target="x86-vnni")
    answers = compress.open_session(artefact)(images.numpy()).argmax(1)
    print(f"{artefact.model_bytes:,} bytes for {sum(each.numel() for each in network(8).parameters()):,} parameters")
    print(f"top-1 {(answers == labels.numpy()).mean():.1%} of {len(labels)} images")
    with torch.no_grad():
        print(f"the teacher's: {float((teacher(images).argmax(1) == labels).float().mean()):.1%}")
    return artefact


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name) / "artefact")
