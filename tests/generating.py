"""A generator small enough to be trained in a test, and what its passes may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress.data.images import open_images
from compress.jobs.pixel_examples import PixelExamples
from compress.models.generators.transformer import FlowTransformer, GeneratorConfig
from compress.passes import Context
from compress.targets import load
from compress.training.flowing import FlowExamples, uniform_sigmas

LABELS = tuple(map(str, range(10)))
FEW = {"epochs": None, "max_steps": 3, "batch_size": 8, "optimizer": "adamw", "learning_rate": 1e-3}


def tiny(guidance_scale: float | None = 2.0, num_steps: int = 8) -> FlowTransformer:
    """Its weights are all drawn, those that begin as zero too."""
    config = GeneratorConfig(8, 1, 4, 16, 2, 2, 2, 10, num_steps, guidance_scale)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FlowTransformer(config)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def digits(count: int = 32) -> PixelExamples:
    return PixelExamples(open_images(f"digits[0:{count}]"), 8, 1)


def inputs(count: int = 4) -> tuple[Tensor, ...]:
    """Noised digits, their timesteps and classes."""
    examples = FlowExamples(digits(), uniform_sigmas, 10, 0.2)
    return examples.batch(range(count), np.random.default_rng(1)).inputs


def context(directory: Path | None = None) -> Context:
    def batches() -> Iterator[tuple[Tensor, ...]]:
        yield inputs(16)

    return Context(batches, load("generic"), directory=directory, examples=lambda dataset, augment: digits())
