"""What the tests of pipelines share: a tiny one of random weights, as this program and as diffusers has it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.applying import apply
from compress.exporter.pipelines import export_pipeline
from compress.models.pipelines.loading import LoadedPipeline, load_pipeline
from compress.models.pipelines.sampling import Sampling
from compress.models.pipelines.scheduler import sampling_config
from compress.models.source import ModelSource
from compress.passes.quantize_weights import QuantizeWeights
from compress.runtime.artefact import Artefact

SAMPLING = Sampling(5, 5.0)
PROMPTS = ("a red house", "two cats at sea")


def load_tiny() -> LoadedPipeline:
    return load_pipeline(ModelSource("random:tiny-sd"))


def numbers_of(tokenizer: Any, *prompts: str) -> Tensor:
    """int64 [N, 77]."""
    found: Tensor = tokenizer(list(prompts), padding="max_length", max_length=77, return_tensors="pt").input_ids
    return found


def example(tokenizer: Any) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return numbers_of(tokenizer, *PROMPTS), torch.randn(2, 4, 8, 8), torch.tensor([700.0, 300.0])


def quantized(model: Any, tokenizer: Any) -> Any:
    """The UNet in 4 bits by groups, the decoder and the text encoder in 8."""
    passes = [
        QuantizeWeights(targets=("vae_decoder", "text_encoder", "unet.conv_in", "unet.conv_out"), num_bits=8),
        QuantizeWeights(targets=("text_encoder.embeddings.token_embedding",), num_bits=8),
        QuantizeWeights(targets=("unet",), num_bits=4, strategy="group", group_size=32),
    ]
    return apply(model, passes, lambda: [example(tokenizer)])


def exported(loaded: LoadedPipeline, directory: Path, scheduler: str | None = None) -> Artefact:
    assert loaded.schedule.config is not None
    config = sampling_config(loaded.schedule.config, scheduler, "here")
    inputs = example(loaded.tokenizer)
    return export_pipeline(loaded.model, loaded.tokenizer, config, SAMPLING, inputs, directory, target="generic")


def diffusers_pipeline(loaded: LoadedPipeline) -> Any:
    """diffusers' own StableDiffusionPipeline of the same weights."""
    import diffusers
    from transformers import CLIPTextModel

    logging.getLogger("diffusers").setLevel(logging.ERROR)  # it warns of a missing safety checker
    model, scheduler = loaded.model, loaded.schedule.config
    assert scheduler is not None
    unet = diffusers.UNet2DConditionModel.from_config(model.unet.config)
    unet.load_state_dict(model.unet.state_dict())
    vae = diffusers.AutoencoderKL.from_config(model.vae_decoder.config)
    vae.load_state_dict(model.vae_decoder.state_dict(), strict=False)
    text_encoder = CLIPTextModel(model.text_encoder.config)
    text_encoder.load_state_dict(model.text_encoder.state_dict())
    return diffusers.StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=loaded.tokenizer,
        unet=unet.eval(),
        scheduler=getattr(diffusers, scheduler["_class_name"]).from_config(dict(scheduler)),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
