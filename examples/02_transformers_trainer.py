"""transformers' Trainer, and a callback by which a small vision transformer learns from a larger one on 4-bit weights.

python examples/02_transformers_trainer.py
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import compress
from compress.integrations.transformers import CompressCallback
from compress.models.sources.huggingface import returns_logits
from compress.passes import TrainQuantized
from compress.training.settings import LogitsLoss


def stripes(seed: int, count: int) -> list[dict[str, torch.Tensor]]:
    """Images [3, 16, 16] of stripes under noise, and which of four directions they have."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    angle = labels[:, None, None] * math.pi / 4
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    waves = torch.sin(1.2 * (x * angle.cos() + y * angle.sin()) + 6.28 * torch.rand(count, 1, 1, generator=generator))
    images = waves[:, None] + 1.5 * torch.randn(count, 3, 16, 16, generator=generator)
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]


def network(width: int) -> ViTForImageClassification:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * width}
    return ViTForImageClassification(ViTConfig(hidden_size=width, image_size=16, patch_size=4, num_labels=4, **sizes))


def train(model: ViTForImageClassification, directory: Path, callbacks: list[CompressCallback]) -> None:
    settings = TrainingArguments(
        str(directory),
        per_device_train_batch_size=32,
        max_steps=120,
        learning_rate=3e-3,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model, settings, train_dataset=stripes(0, 2000), callbacks=callbacks).train()


def main(directory: Path) -> compress.Artefact:
    torch.manual_seed(0)
    teacher, student = network(64), network(32)
    train(teacher, directory / "teacher", [])

    calibration = torch.stack([each["pixel_values"] for each in stripes(1, 64)])
    callback = CompressCallback(
        [TrainQuantized(num_bits=4, logits=LogitsLoss(temperature=2.0))],
        teacher=teacher,
        batches=lambda: [(calibration,)],
    )
    train(student, directory / "student", [callback])
    model = returns_logits(callback.finalize())

    test = stripes(2, 500)
    images = torch.stack([each["pixel_values"] for each in test])
    artefact = compress.export(model, images[:1], directory / "artefact", target="generic")
    answers = compress.open_session(artefact)(images.numpy()).argmax(1)
    right = sum(int(answer) == int(each["labels"]) for answer, each in zip(answers, test, strict=True))
    print(f"{artefact.model_bytes:,} bytes for {network(32).num_parameters():,} parameters")
    print(f"top-1 {right / len(test):.1%} of {len(test)} images")
    return artefact


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
