"""What the tests of denoisers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.applying import apply
from compress.exporter.denoisers import export_denoiser
from compress.models.denoisers.loading import LoadedDenoiser, load_denoiser
from compress.models.denoisers.unet import shaped_inputs
from compress.models.source import ModelSource
from compress.passes.quantize_weights import QuantizeWeights
from compress.runtime.artefact import Artefact
from compress.tasks.denoising import Denoising

PRECISE = ("conv_in", "conv_out", "time_embedding")


def load_tiny() -> LoadedDenoiser:
    return load_denoiser(ModelSource("random:tiny-unet"))


def task(count: int = 4) -> Denoising:
    return Denoising(shaped_inputs((4, 8, 8), (5, 32)), load_tiny_timesteps(count))


def load_tiny_timesteps(count: int) -> Any:
    from compress.models.denoisers.schedule import Schedule

    return Schedule().timesteps(count)


def example(count: int = 2) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, next(task(count).batches(count))))


def quantized(model: Any) -> Any:
    """In 4 bits by groups, the ends and the time embedding in 8."""
    passes = [
        QuantizeWeights(num_bits=8, targets=PRECISE),
        QuantizeWeights(num_bits=4, strategy="group", group_size=32),
    ]
    return apply(model, passes, lambda: [example()])


def exported(loaded: LoadedDenoiser, directory: Path) -> Artefact:
    return export_denoiser(loaded.model, loaded, example(), directory, target="generic")
