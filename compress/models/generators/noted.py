"""How a generator is sampled, noted in its config, whose changes snapshots keep (`compress.models.structure`)."""

from __future__ import annotations

from torch import nn

from compress.models.generators.sampling import Sampling
from compress.models.generators.transformer import GeneratorConfig
from compress.models.structure import config_held, recording


def config_of(model: nn.Module) -> GeneratorConfig:
    """Raises ModelError for a model that makes no images."""
    return config_held(model, GeneratorConfig, "images")


def sampling_of(model: nn.Module) -> Sampling:
    """Raises ModelError for a model that makes no images."""
    config = config_of(model)
    evaluated = None if config.evaluated_steps is None else tuple(config.evaluated_steps)
    return Sampling(config.num_inference_steps, config.guidance_scale, config.shift, evaluated)


def set_sampling(model: nn.Module, sampling: Sampling) -> None:
    """Note another way to sample the model."""
    config = config_of(model)
    with recording(model):
        config.num_inference_steps = sampling.num_steps
        config.guidance_scale = sampling.guidance_scale
        config.shift = sampling.shift
        config.evaluated_steps = None if sampling.evaluated is None else list(sampling.evaluated)
